//! `config check`: reads a configuration as the daemon would, without the daemon.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::{
    Ended,
    exit::Exit,
    layout::{harmless, indented},
    look,
    look::Look,
    screen::Screen,
};
use crate::{
    config::{Config, Severity},
    daemon,
};

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

/// What was found; as JSON, what `--json` prints.
#[derive(Debug, Serialize)]
struct Findings {
    file: PathBuf,
    /// It can be used, here or at all.
    ok: bool,
    services: Vec<String>,
    /// Every mistake in the file, one per line.
    mistakes: Option<String>,
    /// What on this host does not fit it: `error: …` and `warning: …`.
    host: Vec<String>,
}

pub(super) async fn run(verb: &ConfigVerb, screen: Screen) -> Ended {
    let ConfigVerb::Check { file, no_host } = verb;
    let scope = if *no_host { Scope::File } else { Scope::Host };
    let findings = check(file, scope).await;
    screen.show(&findings, |look| text(&findings, look))?;
    Ok(if findings.ok { Exit::Done } else { Exit::Failed })
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The file alone.
    File,
    /// And what it names on this host.
    Host,
}

async fn check(file: &Path, scope: Scope) -> Findings {
    let empty = Findings {
        file: file.to_owned(),
        ok: false,
        services: Vec::new(),
        mistakes: None,
        host: Vec::new(),
    };
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(mistakes) => return Findings { mistakes: Some(mistakes.to_string()), ..empty },
    };
    let host = match scope {
        Scope::File => Vec::new(),
        Scope::Host => daemon::check_host(&config).await,
    };
    Findings {
        ok: host.iter().all(|finding| finding.severity == Severity::Warning),
        services: config.services.keys().map(ToString::to_string).collect(),
        host: host.iter().map(ToString::to_string).collect(),
        ..empty
    }
}

fn text(findings: &Findings, look: Look) -> String {
    if let Some(mistakes) = &findings.mistakes {
        return format!("{}\n", harmless(mistakes).trim_end());
    }
    let file = findings.file.display();
    let services = match findings.services.as_slice() {
        [] => "no service".to_owned(),
        [one] => format!("service {one}"),
        names => format!("services {}", names.join(", ")),
    };
    let host = indented(&findings.host.join("\n"));
    let valid = look.paint(look::GOOD, "valid");
    if findings.ok {
        return format!("{file}: {valid}, {services}\n{host}");
    }
    let verdict = look.paint(look::BAD, "this host cannot run it");
    format!("{file}: {valid}, {services}; but {verdict}\n{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_lacks_is_not_a_mistake_in_the_file() {
        let mut findings = Findings {
            file: "a.yaml".into(),
            ok: false,
            services: vec!["api".into(), "admin".into()],
            mistakes: None,
            host: vec!["error: nginx: /usr/sbin/nginx does not exist; install nginx".into()],
        };
        insta::assert_snapshot!(text(&findings, Look::PAGE));
        findings.ok = true;
        findings.host.clear();
        assert_eq!(text(&findings, Look::PAGE), "a.yaml: valid, services api, admin\n");
        findings.mistakes = Some("a.yaml:1:1: unknown key\n1 mistake in a.yaml\n".into());
        let told = text(&findings, Look::PAGE);
        assert_eq!(told, "a.yaml:1:1: unknown key\n1 mistake in a.yaml\n");
    }
}
