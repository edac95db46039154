//! Programs of the host that are asked something.

use std::{ffi::OsStr, io, path::Path, process::Stdio, time::Duration};

use crate::config::find_program;

/// How long one may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The most of its words that is kept, in characters.
const WORDS: usize = 64 * 1024;

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// It ended with status 0.
    pub(crate) ok: bool,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// Runs `name` with `args` to its end, with an environment of its own.
///
/// # Errors
/// When it is not there, or does not end in time.
pub(crate) async fn ask<A: AsRef<OsStr>>(name: &str, args: &[A]) -> io::Result<Said> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{name} was not found"));
    let path = find_program(Path::new(name)).ok_or_else(missing)?;
    let running = tokio::process::Command::new(path)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("{name} did not end"));
    let output = tokio::time::timeout(DEADLINE, running).await.map_err(late)??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().chars().take(WORDS).collect();
    Ok(Said { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_is_heard_or_missed() {
        let said = ask("sh", &["-c", "echo out; echo err >&2; exit 3"]).await.unwrap();
        assert_eq!(said, Said { ok: false, out: "out".into(), err: "err".into() });
        let error = ask::<&str>("no-such-program", &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "no-such-program was not found");
    }
}
