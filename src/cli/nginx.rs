//! `nginx show` and `nginx test`.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{
    Ended,
    daemon::Daemon,
    exit::Exit,
    failure::Failure,
    layout::{harmless, indented},
    look,
    look::Look,
    screen::Screen,
    status,
};
use crate::{
    api::types::{NginxFile, NginxSnippet, NginxTest},
    config::Config,
    ident::ServiceName,
};

/// What to look at.
#[derive(Debug, Subcommand)]
pub(super) enum NginxVerb {
    /// Show the file that aibk publishes, and what nginx serves by its own answer
    Show,
    /// Let nginx test its configuration (`nginx -t`)
    Test,
    /// Print the lines that the site needs for a service
    Snippet {
        /// The service
        service: ServiceName,
        /// Take them from this configuration; needs no daemon
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub(super) async fn run(verb: &NginxVerb, daemon: &Daemon, screen: Screen) -> Ended {
    match verb {
        NginxVerb::Show => {
            let file = daemon.nginx().await?;
            screen.show(&file, |look| file_text(&file, look))?;
            Ok(Exit::Done)
        }
        NginxVerb::Test => {
            let test = daemon.nginx_test().await?;
            screen.show(&test, |look| test_text(&test, look))?;
            Ok(if test.ok { Exit::Done } else { Exit::Failed })
        }
        NginxVerb::Snippet { service, config } => {
            let snippet = match config {
                Some(file) => of_file(file, service)?,
                None => daemon.nginx_snippet(service).await?,
            };
            screen.show(&snippet, |_| snippet_text(&snippet))?;
            Ok(Exit::Done)
        }
    }
}

fn of_file(file: &Path, service: &ServiceName) -> Result<NginxSnippet, Failure> {
    let config = Config::load(file)
        .map_err(|mistakes| Failure::here(mistakes.to_string(), "correct the configuration"))?;
    crate::daemon::snippet(&config, service).ok_or_else(|| {
        let what = format!("{} has no service {service} behind nginx", file.display());
        Failure::here(what, "look at its `services`")
    })
}

/// As they stand in nginx's configuration.
fn snippet_text(snippet: &NginxSnippet) -> String {
    let lines = |depth: usize, lines: &[String]| -> String {
        let indent = "    ".repeat(depth);
        lines.iter().flat_map(|line| [indent.clone(), harmless(line), "\n".to_owned()]).collect()
    };
    let server = match snippet.server.as_slice() {
        [] => String::new(),
        own => lines(1, own) + "\n",
    };
    let log = match snippet.log.as_slice() {
        [] => String::new(),
        lines => {
            let commented = |line: &String| ["    # ", &harmless(line), "\n"].concat();
            let lines: String = lines.iter().map(commented).collect();
            format!(
                "    # beside each access_log of your own, so that requests are counted:\n{lines}\n"
            )
        }
    };
    format!(
        "{}\nserver {{\n    # ...\n{log}{server}    location / {{\n{}    }}\n}}\n",
        lines(0, &snippet.http),
        lines(2, &snippet.location),
    )
}

fn file_text(file: &NginxFile, look: Look) -> String {
    let NginxFile { path, text, status } = file;
    let state = status::nginx_line(status, look);
    let path = harmless(path);
    match text {
        Some(text) => format!("{state}file   {path}\n\n{}\n", harmless(text).trim_end()),
        None => format!("{state}file   {path} does not exist yet\n"),
    }
}

fn test_text(test: &NginxTest, look: Look) -> String {
    let verdict = if test.ok {
        look.paint(look::GOOD, "nginx accepts its configuration")
    } else {
        look.paint(look::BAD, "nginx refuses its configuration")
    };
    let words = indented(&test.output);
    format!("{verdict}\n{words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn the_file_is_shown_under_what_is_served() {
        let status = samples::all_fine().nginx.unwrap();
        let mut file = NginxFile {
            path: "/etc/nginx/conf.d/aibk.conf".into(),
            text: Some("upstream api {\n    server 127.0.0.1:8000;\n}\n".into()),
            status,
        };
        insta::assert_snapshot!(file_text(&file, Look::PAGE));
        file.text = None;
        assert!(file_text(&file, Look::PAGE).ends_with("aibk.conf does not exist yet\n"));
    }

    #[test]
    fn a_snippet_can_be_pasted() {
        let text = "nginx: {flags: /flags}\nservices:\n  api: {app: 'a:b', directory: /srv, \
                    slots: [1, 2], upstream: {switch: flip}}\n";
        let config = Config::parse(text, Path::new("/etc/aibk/aibk.yaml")).unwrap();
        let snippet = crate::daemon::snippet(&config, &"api".parse().unwrap()).unwrap();
        insta::assert_snapshot!(snippet_text(&snippet));
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_nginx() {
        let output = "nginx: [emerg] unknown directive \"sever\" in /etc/nginx/conf.d/a.conf:2\n";
        let test = NginxTest { ok: false, output: output.into() };
        insta::assert_snapshot!(test_text(&test, Look::PAGE));
    }
}
