//! `config check`: reads a configuration as the daemon would, without the daemon.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::{Ended, exit::Exit, look, look::Look, screen::Screen};
use crate::config::{self, Config};

/// What to do with it.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Report every mistake in a configuration, and what this host lacks for it
    Check {
        /// The configuration
        file: PathBuf,
        /// Check the file alone, not whether this host can run it
        #[arg(long)]
        no_host: bool,
    },
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    file: PathBuf,
    ok: bool,
    services: Vec<String>,
    mistakes: Option<String>,
    host: Vec<String>,
}

pub(super) fn run(verb: &ConfigVerb, screen: Screen) -> Ended {
    let ConfigVerb::Check { file, no_host } = verb;
    let findings = check(file, *no_host);
    screen.show(&findings, |look| text(&findings, look))?;
    Ok(if findings.ok { Exit::Done } else { Exit::Failed })
}

fn check(file: &Path, no_host: bool) -> Findings {
    let mut findings = Findings {
        file: file.to_owned(),
        ok: false,
        services: Vec::new(),
        mistakes: None,
        host: Vec::new(),
    };
    match Config::load(file) {
        Err(mistakes) => findings.mistakes = Some(mistakes.to_string()),
        Ok(config) => {
            findings.services = config.services.keys().map(ToString::to_string).collect();
            if !no_host {
                findings.host =
                    config::check_host(&config).iter().map(ToString::to_string).collect();
            }
            findings.ok = findings.host.is_empty();
        }
    }
    findings
}

fn text(findings: &Findings, look: Look) -> String {
    let file = findings.file.display();
    if let Some(mistakes) = &findings.mistakes {
        let verdict = look.paint(look::BAD, "not valid");
        return format!("{}\n{file}: {verdict}\n", mistakes.trim_end());
    }
    let services = match findings.services.as_slice() {
        [] => "no service".to_owned(),
        names => format!("services {}", names.join(", ")),
    };
    if findings.ok {
        let verdict = look.paint(look::GOOD, "valid");
        return format!("{file}: {verdict}, {services}\n");
    }
    let verdict = look.paint(look::BAD, "this host cannot run it");
    let lacks: String = findings.host.iter().map(|lack| format!("  {lack}\n")).collect();
    format!("{file}: valid, {services}; but {verdict}:\n{lacks}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_lacks_is_not_a_mistake_in_the_file() {
        let findings = Findings {
            file: "a.yaml".into(),
            ok: false,
            services: vec!["api".into(), "admin".into()],
            mistakes: None,
            host: vec!["nginx: /usr/sbin/nginx does not exist: install nginx".into()],
        };
        insta::assert_snapshot!(text(&findings, Look::PAGE), @r"
        a.yaml: valid, services api, admin; but this host cannot run it:
          nginx: /usr/sbin/nginx does not exist: install nginx
        ");
    }
}
