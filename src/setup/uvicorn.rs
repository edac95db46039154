//! A command line that starts uvicorn, in aibk's own keys. Pure.

use super::unit::words;

/// What a command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Uvicorn {
    pub(super) app: String,
    /// The environment whose program it is, where it is one.
    pub(super) venv: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) workers: Option<u16>,
    pub(super) event_loop: Option<String>,
    pub(super) http: Option<String>,
    pub(super) env_file: Option<String>,
    /// What aibk passes on as it is.
    pub(super) args: Vec<String>,
    /// What is left out, and why.
    pub(super) left: Vec<String>,
}

/// Options without a value: all others have one.
const FLAGS: &[&str] = &[
    "--reload",
    "--no-access-log",
    "--access-log",
    "--use-colors",
    "--no-use-colors",
    "--proxy-headers",
    "--no-proxy-headers",
    "--server-header",
    "--no-server-header",
    "--date-header",
    "--no-date-header",
    "--factory",
];

/// Reads `line`, as `ExecStart=` has it.
///
/// # Errors
/// When it does not start uvicorn.
pub(super) fn parse(line: &str) -> Result<Uvicorn, String> {
    // What systemd itself heeds: systemd.service(5), "Special executable prefixes".
    let mut words = words(line.trim_start_matches(['-', '@', ':', '+', '!'])).into_iter();
    let program = words.next().unwrap_or_default();
    let (directory, name) = program.rsplit_once('/').unwrap_or(("", &program));
    if name.starts_with("python") {
        if (words.next().as_deref(), words.next().as_deref()) != (Some("-m"), Some("uvicorn")) {
            return Err(format!("`{program}` does not start uvicorn"));
        }
    } else if name != "uvicorn" {
        return Err(format!("`{program}` is not uvicorn"));
    }
    let venv =
        directory.strip_suffix("/bin").filter(|venv| !matches!(*venv, "/usr" | "/usr/local"));
    let mut found = Uvicorn { venv: venv.map(str::to_owned), ..Uvicorn::default() };
    while let Some(word) = words.next() {
        if !word.starts_with("--") {
            found.app = word;
            continue;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None if FLAGS.contains(&word.as_str()) => (word, String::new()),
            None => (word, words.next().unwrap_or_default()),
        };
        found.option(&name, value)?;
    }
    if found.app.is_empty() {
        return Err("it names no application (module:attribute)".to_owned());
    }
    Ok(found)
}

impl Uvicorn {
    fn option(&mut self, name: &str, value: String) -> Result<(), String> {
        let number = |value: &str| {
            value.parse().map_err(|_| format!("`{name} {value}` is not a number; write it there"))
        };
        match name {
            "--host" => self.host = Some(value),
            "--port" => self.port = Some(number(&value)?),
            "--workers" => self.workers = Some(number(&value)?),
            "--loop" => self.event_loop = Some(value),
            "--http" => self.http = Some(value),
            "--env-file" => self.env_file = Some(value),
            "--fd" | "--uds" => return Err(format!("it listens by `{name}`, and aibk by port")),
            "--timeout-keep-alive" | "--timeout-graceful-shutdown" => {
                self.left.push(format!("{name} {value}: aibk gives its own"));
            }
            name if name.starts_with("--reload") => {
                self.left.push(format!("{name}: new code comes in by a rollout"));
            }
            name if FLAGS.contains(&name) => self.args.push(name.to_owned()),
            name => self.args.extend([name.to_owned(), value]),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_finds_its_key() {
        let line = "/home/a/venv/bin/uvicorn app.main:app --host 127.0.0.1 --port=8000 --workers 2 \
                    --loop uvloop --http httptools --no-access-log --log-level info --reload \
                    --timeout-keep-alive 5 --proxy-headers --forwarded-allow-ips='*'";
        let found = parse(line).unwrap();
        assert_eq!(found.app, "app.main:app");
        assert_eq!(found.venv.as_deref(), Some("/home/a/venv"));
        assert_eq!((found.port, found.workers), (Some(8000), Some(2)));
        assert_eq!(found.event_loop.as_deref(), Some("uvloop"));
        let args = "--no-access-log --log-level info --proxy-headers --forwarded-allow-ips *";
        assert_eq!(found.args.join(" "), args);
        assert_eq!(found.left.len(), 2);
    }

    #[test]
    fn a_module_is_a_program_too() {
        let found = parse("-/v/bin/python3 -m uvicorn a:b --port 1").unwrap();
        assert_eq!((found.app.as_str(), found.venv.as_deref()), ("a:b", Some("/v")));
        assert_eq!(parse("/usr/bin/uvicorn a:b").unwrap().venv, None);
    }

    #[test]
    fn what_is_no_uvicorn_on_a_port_is_told() {
        for (line, why) in [
            ("/v/bin/gunicorn -k uvicorn a:b", "is not uvicorn"),
            ("/v/bin/python app.py", "does not start uvicorn"),
            ("/v/bin/uvicorn --port 1", "names no application"),
            ("/v/bin/uvicorn a:b --port ${PORT}", "is not a number"),
            ("/v/bin/uvicorn a:b --uds /x", "by `--uds`"),
        ] {
            let told = parse(line).unwrap_err();
            assert!(told.contains(why), "{line}: {told}");
        }
    }
}
