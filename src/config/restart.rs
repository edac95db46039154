//! `restart` of a service: what happens when an instance ends by itself.

use std::time::Duration;

use super::{
    mistake::Wrong,
    scalar::{self, some_time},
    section::Section,
};

/// What happens when an instance ends by itself (`P5`): started again at once, then after
/// `delay * factor^n`, at most `cap`.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// Which ends are followed by a start.
    pub policy: RestartPolicy,
    /// The first delay, after the first immediate restart.
    pub delay: Duration,
    /// Growth from one delay to the next.
    pub factor: f64,
    /// The longest delay.
    pub cap: Duration,
    /// Uptime after which the next restart is at once again.
    pub stable: Duration,
    /// Restarts after deaths that belong together; the next death makes it `failed`.
    pub limit: u32,
    /// Deaths belong together when they fall into this time; without it, when there was no stable
    /// uptime between them.
    pub window: Option<Duration>,
}

/// Which ends are followed by a start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// All.
    #[default]
    Always,
    /// Those that are failures; after a clean one it is `finished`.
    OnFailure,
    /// None: it is `finished`, or `failed`.
    Never,
}

const POLICIES: &[(&str, RestartPolicy)] = &[
    ("always", RestartPolicy::Always),
    ("on-failure", RestartPolicy::OnFailure),
    ("never", RestartPolicy::Never),
];

/// Keys that have no meaning where nothing is restarted.
const OF_RESTARTS: &[&str] = &["delay", "factor", "cap", "stable", "limit", "window"];

pub(super) fn restart(s: &mut Section<'_>) -> Restart {
    let policy = s.or("policy", RestartPolicy::Always, scalar::one_of(POLICIES));
    if policy == RestartPolicy::Never {
        s.refuse(OF_RESTARTS, "`policy: never` restarts nothing");
    }
    let delay = s.or("delay", Duration::from_millis(500), some_time);
    let cap = s.or("cap", Duration::from_secs(30).max(delay), some_time);
    if s.sound() && cap < delay {
        s.complain("cap", Wrong::new("is shorter than `delay`").instead("make it longer"));
    }
    Restart {
        policy,
        delay,
        cap,
        factor: s.or("factor", 2.0, scalar::factor),
        stable: s.or("stable", Duration::from_secs(30), some_time),
        limit: s.or("limit", 5, scalar::whole(1..=1000)),
        window: s.get("window", some_time),
    }
}
