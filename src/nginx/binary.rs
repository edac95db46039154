//! nginx's executable, asked for its version and to test its configuration.

use std::{
    ffi::OsString,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use super::{NginxError, version::Version};
use crate::config;

/// A test resolves every host name in the site's configuration, which may take long.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// The most of nginx's words that an error carries.
const WORDS: usize = 4096;

/// `nginx -v`.
///
/// # Errors
/// When there is no such executable, or it is no nginx.
pub(super) async fn version(binary: &Path) -> Result<Version, NginxError> {
    let output = run(binary, vec!["-v".into()]).await?;
    let words = words(&output);
    Version::parse(&words)
        .ok_or_else(|| NginxError::NoVersion { path: binary.to_owned(), words: words.clone() })
}

/// `nginx -t`: its words.
///
/// # Errors
/// [`NginxError::Test`] with its words, or when it cannot be run.
pub(super) async fn test(config: &config::Nginx) -> Result<String, NginxError> {
    let mut args = vec!["-t".into()];
    args.extend(location(config));
    let output = run(&config.binary, args).await?;
    let words = words(&output);
    if output.status.success() {
        Ok(words)
    } else {
        Err(NginxError::Test { config: config.config.clone(), words })
    }
}

/// `nginx -T`: its whole configuration, which it has tested.
///
/// # Errors
/// As [`test`].
pub(super) async fn dump(config: &config::Nginx) -> Result<String, NginxError> {
    let mut args = vec!["-T".into()];
    args.extend(location(config));
    let output = run(&config.binary, args).await?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(NginxError::Test { config: config.config.clone(), words: words(&output) })
    }
}

/// `-c CONFIG -p PREFIX`.
pub(super) fn location(config: &config::Nginx) -> Vec<OsString> {
    let mut args = vec!["-c".into(), config.config.clone().into()];
    if let Some(prefix) = &config.prefix {
        args.extend(["-p".into(), prefix.clone().into()]);
    }
    args
}

async fn run(binary: &Path, args: Vec<OsString>) -> Result<Output, NginxError> {
    let running = tokio::process::Command::new(binary)
        .args(&args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(DEADLINE, running).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(source)) => Err(NginxError::Binary { path: binary.to_owned(), source }),
        Err(_) => {
            let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
            let command = format!("{} {}", binary.display(), args.join(" "));
            Err(NginxError::Stuck { command, deadline: DEADLINE })
        }
    }
}

/// nginx says everything on its standard error.
fn words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.trim().chars().take(WORDS).collect()
}
