//! Env files hold secrets: who else may read them. Whether they can be used is told by the
//! configuration room.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt as _, path::PathBuf};

use super::{Finding, Topic};
use crate::config::{Config, load_env_file};

/// An env file that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnvFile {
    path: PathBuf,
    variables: usize,
    mode: u32,
}

pub(super) fn look(config: &Config) -> Vec<EnvFile> {
    let services = config.services.values();
    let of_services =
        services.filter_map(|service| Some(service.directory.join(service.env_file.as_ref()?)));
    let of_apps = config.apps.values().filter_map(|app| app.env_file.clone());
    let mut files = BTreeMap::new();
    for path in of_services.chain(of_apps) {
        let Ok(variables) = load_env_file(&path) else { continue };
        let Ok(meta) = path.metadata() else { continue };
        let real = path.canonicalize().unwrap_or(path);
        files.insert(real, (variables.len(), meta.mode()));
    }
    let files = files.into_iter();
    files.map(|(path, (variables, mode))| EnvFile { path, variables, mode }).collect()
}

pub(super) fn findings(files: &[EnvFile]) -> Vec<Finding> {
    files.iter().map(finding).collect()
}

fn finding(file: &EnvFile) -> Finding {
    let EnvFile { path, variables, mode } = file;
    let (path, bits) = (path.display(), mode & 0o7777);
    if mode & 0o002 != 0 {
        return Finding::problem(
            Topic::EnvFiles,
            format!("{path} (mode {bits:04o}) can be changed by every user"),
            format!("chmod 0600 {path}, or 0640 where its group has to read it"),
        );
    }
    if mode & 0o004 != 0 {
        return Finding::warning(
            Topic::EnvFiles,
            format!("{path} (mode {bits:04o}) can be read by every user, with its secrets"),
            format!("chmod o= {path}"),
        );
    }
    let plural = if *variables == 1 { "" } else { "s" };
    Finding::ok(
        Topic::EnvFiles,
        format!("{path} (mode {bits:04o}) can be read: {variables} variable{plural}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn what_others_may_do_decides() {
        for (mode, severity) in [
            (0o600, Severity::Ok),
            (0o640, Severity::Ok),
            (0o400, Severity::Ok),
            (0o644, Severity::Warning),
            (0o660, Severity::Ok),
            (0o666, Severity::Problem),
        ] {
            let file = EnvFile { path: "/a/.env".into(), variables: 1, mode: 0o100_000 | mode };
            assert_eq!(finding(&file).severity, severity, "{mode:o}");
        }
    }
}
