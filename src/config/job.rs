//! `job` of a service: a command that runs to its end instead of being kept running.

use std::time::Duration;

use super::{
    RestartPolicy, Schedule, Service,
    mistake::Wrong,
    scalar::{self, some_time},
    section::Section,
    tree::Node,
};

/// What makes a service a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// When it runs; without it, before the first start of whoever requires it, and when asked to.
    pub schedule: Option<Schedule>,
    /// A scheduled run begins up to this much later.
    pub jitter: Duration,
    /// A run that takes longer is stopped, and has failed.
    pub timeout: Duration,
}

/// Keys that have no meaning for what is not kept running.
const OF_KEPT: &[&str] =
    &["slots", "startup", "ready", "live", "drain", "restart", "reload", "rollout", "upstream"];

/// Reads it, where it is there.
pub(super) fn job(s: &mut Section<'_>, is_asgi: bool) -> Option<Job> {
    if !s.has("job") {
        return None;
    }
    if is_asgi {
        s.complain("job", Wrong::new("a job has a `command`, not an `app`"));
    } else {
        s.refuse(OF_KEPT, "a job runs to its end, and is not kept running");
    }
    Some(s.section("job", |s| {
        let schedule = s.get("schedule", schedule);
        if schedule.is_none() && !s.has("schedule") {
            s.refuse(&["jitter"], "there is no `schedule` to spread");
        }
        Job {
            schedule,
            jitter: s.or("jitter", Duration::ZERO, scalar::duration),
            timeout: s.or("timeout", Duration::from_secs(3600), some_time),
        }
    }))
}

pub(super) fn schedule(node: &Node) -> Result<Schedule, Wrong> {
    let text = scalar::text(node)?;
    Schedule::parse(&text).map_err(|why| {
        Wrong::new(why).instead("write for example \"30 3 * * *\" (minute hour day month weekday)")
    })
}

/// What the life of a job's run needs to be: it is there as soon as it is started, and when it has
/// ended it is not started again.
pub(super) fn lives_once(service: &mut Service) {
    service.restart.policy = RestartPolicy::Never;
    service.ready.sign = super::Sign::Alive { after: Duration::ZERO };
    service.startup = None;
    service.live = None;
}
