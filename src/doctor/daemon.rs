//! The daemon's own answers: what it says of itself, of its instances and jobs.

use super::{Finding, Topic};
use crate::api::types::{InstanceState, InstanceStatus, RunState, Status};

/// What the daemon answered.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Everything it knows, and the last words of instances that are not well.
    Answers {
        /// `status`.
        status: Box<Status>,
        /// What they wrote last.
        words: Vec<LastWords>,
    },
    /// It does not answer, for this reason.
    Silent(String),
}

/// The last lines of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWords {
    /// Whose.
    pub instance: String,
    /// The lines.
    pub lines: Vec<String>,
}

impl Seen {
    /// Whose last words are wanted.
    #[must_use]
    pub fn unwell(status: &Status) -> Vec<String> {
        let all = status.services.iter().flat_map(|service| &service.instances);
        all.filter(|seen| is_unwell(seen.state)).map(|seen| seen.name.clone()).collect()
    }

    pub(super) const fn status(&self) -> Option<&Status> {
        match self {
            Self::Answers { status, .. } => Some(status),
            Self::Silent(_) => None,
        }
    }
}

const fn is_unwell(state: InstanceState) -> bool {
    use InstanceState as S;
    matches!(state, S::Failed | S::Backoff | S::Hung | S::Unready)
}

pub(super) fn findings(seen: &Seen) -> Vec<Finding> {
    let (status, words) = match seen {
        Seen::Answers { status, words } => (status, words),
        Seen::Silent(why) => {
            return vec![Finding::problem(
                Topic::Daemon,
                format!("aibkd does not answer: {why}"),
                "start it (systemctl start aibkd); if it does not come up, `journalctl -u aibkd \
                 -n 50` says why. What it had started may go on without it",
            )];
        }
    };
    let daemon = &status.daemon;
    let mut found = vec![Finding::ok(
        Topic::Daemon,
        format!("aibkd {} answers (pid {})", daemon.version, daemon.pid),
    )];
    let instances = status.services.iter().flat_map(|service| &service.instances);
    found.extend(instances.filter_map(|seen| instance(seen, words)));
    for service in &status.services {
        found.extend(service.waits.as_ref().map(|waits| {
            let what = format!("{} is not started: {waits}", service.name);
            Finding::problem(Topic::Daemon, what, "see what it waits for (aibkctl status)")
        }));
    }
    for job in &status.jobs {
        let failed = job.last.as_ref().filter(|run| run.state == RunState::Failed);
        found.extend(failed.map(|run| {
            let told = run.told.as_deref().unwrap_or("it failed");
            let what = format!("the last run of job {} failed: {told}", job.name);
            Finding::warning(Topic::Daemon, what, format!("aibkctl logs {}", job.name))
        }));
    }
    if let Some(problem) = status.nginx.as_ref().and_then(|nginx| nginx.problem.as_ref()) {
        let next = "aibkctl nginx test; what follows about nginx tells more";
        found.push(Finding::problem(Topic::Nginx, format!("aibkd says of nginx: {problem}"), next));
    }
    found
}

fn instance(seen: &InstanceStatus, words: &[LastWords]) -> Option<Finding> {
    if !is_unwell(seen.state) {
        return None;
    }
    let name = &seen.name;
    let state = format!("{:?}", seen.state).to_lowercase();
    let detail = seen.detail.as_deref().map(|told| format!(": {told}")).unwrap_or_default();
    let last = words.iter().find(|words| words.instance == *name);
    let last = last.filter(|words| !words.lines.is_empty());
    let last = last.map(|words| format!("\nlast words:\n  {}", words.lines.join("\n  ")));
    let observed = format!("{name} is {state}{detail}{}", last.unwrap_or_default());
    let logs = format!("`aibkctl logs {name}` and `aibkctl status {name} --explain` tell more");
    Some(match seen.state {
        InstanceState::Failed => {
            let next = format!("{logs}; correct the cause, then aibkctl start {name}");
            Finding::problem(Topic::Daemon, observed, next)
        }
        _ => Finding::problem(Topic::Daemon, observed, logs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &str) -> Status {
        serde_json::from_value(serde_json::json!({
            "daemon": {"version": "1.0", "pid": 7, "uptime_s": 1.0, "config": "/a.yaml"},
            "nginx": null,
            "services": [{"name": "api", "rollout": null, "instances": [{
                "name": "api@8000", "colour": null, "state": state, "traffic": null,
                "release": null, "generation": 1, "pid": null, "uptime_s": null, "restarts": 5,
                "detail": "ended with exit status 3",
            }]}],
        }))
        .unwrap()
    }

    fn told(state: &str) -> Vec<(super::super::Severity, String)> {
        let status = status(state);
        let words = Seen::unwell(&status)
            .into_iter()
            .map(|instance| LastWords { instance, lines: vec!["boom".into()] })
            .collect();
        let seen = Seen::Answers { status: Box::new(status), words };
        findings(&seen).into_iter().map(|f| (f.severity, f.observed)).collect()
    }

    #[test]
    fn an_instance_that_is_not_well_is_told_with_its_last_words() {
        for state in ["ready", "stopped", "starting", "stopping", "finished"] {
            assert_eq!(told(state).len(), 1, "{state}");
        }
        for state in ["failed", "backoff", "hung", "unready"] {
            let told = told(state);
            assert_eq!(told.len(), 2, "{state}");
            let expected =
                format!("api@8000 is {state}: ended with exit status 3\nlast words:\n  boom");
            assert_eq!(told[1], (super::super::Severity::Problem, expected));
        }
    }

    #[test]
    fn a_daemon_that_does_not_run_is_the_first_finding() {
        let found = findings(&Seen::Silent("no such file".into()));
        assert!(found[0].observed.contains("does not answer: no such file"), "{found:?}");
        assert!(found[0].next.as_ref().unwrap().contains("systemctl start aibkd"));
    }
}
