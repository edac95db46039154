//! The daemon itself: its version, its configuration, another in its place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rollout::Rollout;

/// Version of this protocol: the `1` in `/v1/`.
pub const PROTOCOL: u32 = 1;

/// `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Version of the daemon.
    pub daemon: String,
    /// Version of the protocol.
    pub protocol: u32,
    /// Its process id.
    pub pid: u32,
    /// When it began, RFC 3339: another program in the place of this one has the same pid.
    #[serde(default)]
    pub begun: String,
}

/// Body of `POST /v1/daemon/reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Say what would change, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Do it although requests may be lost (`T1`): for a service with one slot.
    #[serde(default)]
    pub force: bool,
}

/// `POST /v1/daemon/reexec`: another program is about to take this one's place. It answers on the
/// same socket; `begun` of its version is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reexec {
    /// The daemon that answered.
    pub before: Version,
    /// Version of the program that takes its place.
    pub after: String,
}

/// The configuration was read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Nothing was changed: it was only asked for.
    pub dry_run: bool,
    /// Services that are not the same, by name.
    pub changes: Vec<ServiceChange>,
    /// What was begun to bring them to where they should be.
    pub rollouts: Vec<Rollout>,
    /// What could not be begun, and why.
    pub troubles: Vec<String>,
}

/// What differs in a service, and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceChange {
    /// Its name.
    pub service: String,
    /// Keys whose values differ; none of a service that came or went.
    pub keys: Vec<String>,
    /// What that needs.
    pub action: ReloadAction,
}

/// What a change of a service needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadAction {
    /// Nothing more: it holds at once.
    Apply,
    /// nginx's file is published.
    Publish,
    /// Its instances are replaced, start before stop where there are two slots.
    Restart,
    /// Nothing now, for nothing of it runs: it holds from its next start.
    NextStart,
    /// It is new, and starts.
    Start,
    /// It is gone: out of nginx, drained, stopped.
    Stop,
    /// It is a new job, and runs when it is due.
    JobAdded,
    /// It is a job, whose next run is by the new definition.
    JobChanged,
    /// It was a job; a run that goes on ends by itself.
    JobRemoved,
}
