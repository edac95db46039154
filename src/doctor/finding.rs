//! What was found, how bad it is, and what to do next.

use std::fmt;

use serde::Serialize;

use super::LOOK;
use crate::{config, sys::blocking};

/// What a finding is about; in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// The daemon and its instances.
    Daemon,
    /// What the configuration names and this host lacks.
    Configuration,
    /// Who listens where.
    Ports,
    /// Who may read what.
    Permissions,
    /// Env files.
    EnvFiles,
    /// What the applications talk to.
    Databases,
    /// nginx, and what it logged.
    Nginx,
    /// Certificates of the site.
    Certificates,
    /// Disk, memory, clock, `SELinux`.
    Host,
    /// Units of systemd.
    Units,
    /// What is different from when it last worked.
    Changes,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Daemon => "aibkd",
            Self::Configuration => "configuration",
            Self::Ports => "ports",
            Self::Permissions => "permissions",
            Self::EnvFiles => "env files",
            Self::Databases => "databases",
            Self::Nginx => "nginx",
            Self::Certificates => "certificates",
            Self::Host => "host",
            Self::Units => "units",
            Self::Changes => "changes",
        })
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, but maybe not for long, or it could not be seen.
    Warning,
    /// It does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub topic: Topic,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen.
    pub observed: String,
    /// What to do next; none where nothing is to be done.
    pub next: Option<String>,
}

impl Finding {
    /// Nothing is to be done.
    pub(super) fn ok(topic: Topic, observed: impl Into<String>) -> Self {
        Self { topic, severity: Severity::Ok, observed: observed.into(), next: None }
    }

    /// It works, but.
    pub(super) fn warning(
        topic: Topic,
        observed: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        let (observed, next) = (observed.into(), Some(next.into()));
        Self { topic, severity: Severity::Warning, observed, next }
    }

    /// It does not work.
    pub(super) fn problem(
        topic: Topic,
        observed: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Problem, ..Self::warning(topic, observed, next) }
    }
}

/// `what is wrong; what to do`, as the configuration room says it.
impl From<config::Finding> for Finding {
    fn from(lack: config::Finding) -> Self {
        let severity = match lack.severity {
            config::Severity::Warning => Severity::Warning,
            config::Severity::Error => Severity::Problem,
        };
        let (what, next) = match lack.what.rsplit_once("; ") {
            Some((what, next)) => (what, Some(next.to_owned())),
            None => (lack.what.as_str(), None),
        };
        let observed = format!("{}: {what}", lack.about);
        Self { topic: Topic::Configuration, severity, observed, next }
    }
}

/// Everything that was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By topic; within one, the worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How bad the worst of it is.
    #[must_use]
    pub fn worst(&self) -> Severity {
        let all = self.findings.iter().map(|finding| finding.severity);
        all.max().unwrap_or(Severity::Ok)
    }

    /// How many there are of one severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    pub(super) fn extend(&mut self, more: impl IntoIterator<Item = Finding>) {
        self.findings.extend(more);
    }

    /// Looks on a thread of its own, at most for [`LOOK`].
    pub(super) async fn look(
        &mut self,
        topic: Topic,
        look: impl FnOnce() -> Vec<Finding> + Send + 'static,
    ) {
        match blocking::within(LOOK, look).await {
            Ok(found) => self.extend(found),
            Err(error) => self.extend([Finding::problem(
                topic,
                format!("this could not be looked at: {error}"),
                "look whether a file system or a name service of this host hangs",
            )]),
        }
    }

    pub(super) fn sorted(mut self) -> Self {
        self.findings.sort_by_key(|found| (found.topic, std::cmp::Reverse(found.severity)));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_topic_comes_first_and_topics_keep_their_order() {
        let mut report = Report::default();
        assert_eq!(report.worst(), Severity::Ok);
        report.extend([
            Finding::ok(Topic::Nginx, "a"),
            Finding::problem(Topic::Nginx, "b", "do"),
            Finding::warning(Topic::Daemon, "c", "do"),
        ]);
        assert_eq!(report.worst(), Severity::Problem);
        assert_eq!(report.count(Severity::Warning), 1);
        let told: Vec<_> = report.sorted().findings.into_iter().map(|f| f.observed).collect();
        assert_eq!(told, ["c", "b", "a"]);
    }

    #[test]
    fn what_the_configuration_lacks_keeps_its_next_step() {
        let lack = config::Finding {
            severity: config::Severity::Error,
            about: "services.api.venv".into(),
            what: "/v has no bin/python; create it (python3 -m venv /v)".into(),
        };
        let found = Finding::from(lack);
        assert_eq!(found.severity, Severity::Problem);
        assert_eq!(found.observed, "services.api.venv: /v has no bin/python");
        assert_eq!(found.next.as_deref(), Some("create it (python3 -m venv /v)"));
    }

    #[tokio::test]
    async fn what_dies_while_it_is_looked_at_is_a_problem_of_its_topic() {
        let mut report = Report::default();
        report.look(Topic::Host, || panic!("a look that fails")).await;
        assert_eq!(report.worst(), Severity::Problem);
    }
}
