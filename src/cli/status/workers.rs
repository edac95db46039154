//! The workers of an instance on the status page: pure.

use std::fmt::Write as _;

use super::page::state_name;
use crate::{
    api::types::{InstanceState, InstanceStatus, WorkerStatus},
    cli::{
        layout::{hanging, harmless},
        look::{self, Look},
        time,
    },
};

/// One line for all workers, and one for each, where there are more than one.
pub(super) fn workers(instance: &InstanceStatus, look: Look) -> Option<String> {
    let all = &instance.workers;
    if all.len() < 2 {
        return None;
    }
    let ready = all.iter().filter(|worker| worker.state == InstanceState::Ready).count();
    let head = format!("{} workers {ready}/{}", harmless(&instance.name), all.len());
    let style = if ready == all.len() { look::STRONG } else { look::PENDING };
    let mut text = format!("{}\n", look.paint(style, &head));
    for worker in all {
        text.push_str(&hanging("  ", &line(worker), look.width));
    }
    Some(text)
}

fn line(worker: &WorkerStatus) -> String {
    let mut line = format!("{} {}", worker.name, state_name(worker.state));
    if let Some(pid) = worker.pid {
        let _ = write!(line, ", pid {pid}");
    }
    if let Some(up) = worker.uptime_s {
        let _ = write!(line, ", up {}", time::age(up));
    }
    let _ = write!(line, ", restarts {}", worker.restarts);
    let first = worker.detail.as_deref().and_then(|detail| detail.lines().next());
    match first {
        Some(why) if worker.state != InstanceState::Ready => format!("{line}: {why}"),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn each_worker_has_a_line() {
        let text = workers(&samples::with_workers(), Look::PAGE).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text);
        let mut alone = samples::with_workers();
        alone.workers.truncate(1);
        assert_eq!(workers(&alone, Look::PAGE), None);
    }
}
