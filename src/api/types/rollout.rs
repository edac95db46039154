//! Rollouts, and what is asked of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Code, Requests, Undo};

/// A rollout: `GET /v1/rollouts/{id}`, and the 202 answer of every long operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rollout {
    /// Its id.
    pub id: u64,
    /// What kind: `deploy`, `migrate`, `look` and `rollback` of an application; `rolling`, `swap`, `rollback`, `start`, `stop`, `restart`; of the daemon's own: `boot`,
    /// `retire`, `reconfigure`, `remove`, `relieve`, `restore`, `replace`.
    pub kind: String,
    /// Whose: a service, several with a space between, or an application.
    pub service: String,
    /// The application that it is of, where it is a deploy of one.
    #[serde(default)]
    pub app: Option<String>,
    /// The instance it is about, for `start`, `stop` and `restart`.
    pub instance: Option<String>,
    /// Release it brings into service, where it brings one.
    pub release: Option<String>,
    /// The code of that release, where a deploy has fetched it.
    #[serde(default)]
    pub code: Option<Code>,
    /// Who asked for it: `uid 0`, or `aibkd`.
    pub by: String,
    /// The deploy that it is a part of, where one asked.
    #[serde(default)]
    pub deploy: Option<u64>,
    /// Going on, or how it ended.
    pub state: RolloutState,
    /// RFC 3339.
    pub begun: String,
    /// Seconds since it began, or that it took.
    pub elapsed_s: f64,
    /// Every step so far, in order; the last one may be under way.
    pub steps: Vec<Step>,
    /// Why it failed, what was done about it, and what to do next.
    pub failure: Option<String>,
    /// What clients saw, once it has ended; none where none comes through nginx.
    pub requests: Option<Requests>,
    /// What there was to undo when it turned back, by a failure or a cancel, in order; none while it
    /// has not.
    pub undo: Option<Vec<Undo>>,
    /// Requests that were cut, because they were not done when an instance had to end.
    #[serde(default)]
    pub cut: usize,
    /// It is held, and waits for `promote` or `abort`.
    #[serde(default)]
    pub held: Option<Held>,
    /// What the release of a deploy changes, in lines for people: commits, dependencies, revisions.
    #[serde(default)]
    pub report: Vec<String>,
    /// The rollouts of one service each that it consists of, in order, where it is of several or of an
    /// application. `steps` has those of all of them.
    pub members: Vec<Rollout>,
    /// It has passed its point of no return.
    pub committed: bool,
    /// Grows with each change; `wait` takes it.
    pub revision: u64,
}

/// What is held, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// What clients do not see yet: `api@8001`.
    pub instance: String,
    /// Where it can be tried out: `127.0.0.1:8009`.
    pub address: String,
    /// RFC 3339; then it goes back by itself.
    pub until: String,
}

/// State of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RolloutState {
    /// Its turn among several has not come; it holds its service already.
    Waiting,
    /// Under way.
    Running,
    /// Under way back to where it began.
    Undoing,
    /// Ended: everything it meant to do is so, by observation.
    Done,
    /// Ended: it failed, and everything is as before.
    Undone,
    /// Ended: its turn among several did not come, and nothing was done.
    Skipped,
    /// Ended: it failed and could not be undone, or failed past its point of no return.
    Stuck,
}

impl RolloutState {
    /// It goes on no more.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Done | Self::Undone | Self::Skipped | Self::Stuck)
    }
}

/// One step of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// `start`, `await-ready`, `publish`, `watch`, `hold`, `drain`, `stop`, `replace`, `dismiss`.
    pub name: String,
    /// What it acts on: `api@8001`, or the members published.
    pub on: String,
    /// Seconds it took; none while it is under way.
    pub took_s: Option<f64>,
    /// What was observed at its end, or what it waits for.
    pub note: Option<String>,
    /// The traffic of an instance that it waits for, or that was left at its deadline.
    #[serde(default)]
    pub left: Option<Left>,
    /// Requests that it has cut.
    #[serde(default)]
    pub cut: usize,
    /// It ended badly.
    pub failed: bool,
}

/// What is left of an instance's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Left {
    /// Established connections to it.
    pub connections: usize,
    /// Seconds for which the oldest of them has been seen; it may be older.
    pub oldest_s: u64,
    /// Pids of nginx workers from before a reload, which may still send to it.
    pub old_workers: Vec<i32>,
}

/// Body of `POST /v1/services/{service}/rolling` and `/swap`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roll {
    /// Directory of the release to bring in; none: what the configured directory resolves to now.
    /// Naming one needs the access level `deploy`.
    #[serde(default)]
    pub release: Option<String>,
    /// Do it although requests may be lost (`T1`): the way to roll a service with one slot.
    #[serde(default)]
    pub force: bool,
    /// Of a swap: wait for `promote` or `abort` before clients see what is new.
    #[serde(default)]
    pub hold: bool,
}

/// Body of `POST /v1/rollouts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollTogether {
    /// How each gets there.
    #[serde(default)]
    pub way: TogetherWay,
    /// The services. Each goes after those that it depends on, else as they are named; one that fails
    /// stops those behind it.
    #[serde(default)]
    pub services: Vec<String>,
    /// As [`Roll::force`].
    #[serde(default)]
    pub force: bool,
}

/// How several services get there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TogetherWay {
    /// By rolling updates.
    #[default]
    Rolling,
    /// By swaps.
    Swap,
}

/// Body of `POST /v1/instances/{instance}/start`, `/stop` and `/restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Do it although requests may be lost (`T1`).
    #[serde(default)]
    pub force: bool,
}

/// Query of `GET /v1/rollouts/{id}/wait`: answers when the revision differs from `revision`, or
/// the rollout has ended, or after `timeout_s` (at most 60) with whatever is then.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// The revision already seen.
    #[serde(default)]
    pub revision: u64,
    /// Seconds.
    #[serde(default)]
    pub timeout_s: Option<f64>,
}
