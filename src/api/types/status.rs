//! What there is: services, their instances, and what nginx does with them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::app::App;
use super::job::JobStatus;
use super::rollout::Rollout;

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// nginx, where aibk drives one.
    pub nginx: Option<NginxStatus>,
    /// Every service.
    pub services: Vec<ServiceStatus>,
    /// Every application.
    #[serde(default)]
    pub apps: Vec<App>,
    /// Every job.
    #[serde(default)]
    pub jobs: Vec<JobStatus>,
}

/// The daemon in `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// The configuration it read.
    pub config: String,
}

/// nginx in `status`: observed, not remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NginxStatus {
    /// It runs and answers.
    pub answers: bool,
    /// What it serves, by its own answer: the number of the published file.
    pub edition: Option<u64>,
    /// Its master process.
    pub master: Option<i32>,
    /// Workers that accept.
    pub workers: usize,
    /// Old workers that still finish requests.
    pub leaving: usize,
    /// Why it does not answer, or why what it serves differs from the file.
    pub problem: Option<String>,
}

/// One service in `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// It comes up with its host.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Its instances, the first slot first.
    pub instances: Vec<InstanceStatus>,
    /// The rollout under way.
    pub rollout: Option<Rollout>,
    /// What keeps it from being started: a service that it comes after, or requires.
    #[serde(default)]
    pub waits: Option<String>,
}

/// What an older daemon does not say.
const fn yes() -> bool {
    true
}

/// One instance in `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// `api@8000`.
    pub name: String,
    /// Which of two slots it is; none where there is one.
    pub colour: Option<Colour>,
    /// The state of its life.
    pub state: InstanceState,
    /// Role in the upstream that nginx itself answered with; none when absent or not behind nginx.
    pub traffic: Option<Traffic>,
    /// While it gets a part of the requests only: how much of them, in percent.
    #[serde(default)]
    pub share: Option<u8>,
    /// Release in the slot.
    pub release: Option<String>,
    /// Number of this start.
    pub generation: Option<u64>,
    /// Main process.
    pub pid: Option<i32>,
    /// Seconds since this start.
    pub uptime_s: Option<f64>,
    /// Restarts after deaths since it was last started on purpose.
    pub restarts: u32,
    /// What the last probe said, or how it ended last.
    pub detail: Option<String>,
    /// The process trees that it is made of, where aibkd holds its socket.
    #[serde(default)]
    pub workers: Vec<WorkerStatus>,
    /// What holds of its `limits` and its `sandbox`, while it runs.
    #[serde(default)]
    pub confined: Confined,
}

/// What holds of what an instance was asked to do without.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Confined {
    /// What is enforced: `limits.nofile 65535`.
    pub enforced: Vec<String>,
    /// What the kernel refused, where the service is started all the same.
    pub refused: Vec<Refusal>,
}

/// Something that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// What was asked for.
    pub asked: String,
    /// Why it is not given, and what to do about it.
    pub reason: String,
}

/// One of the process trees that share the socket of a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStatus {
    /// `a1`: the first of set `a`; the set that takes over in the same slot is `b`.
    pub name: String,
    /// The state of its life.
    pub state: InstanceState,
    /// Number of this start.
    pub generation: Option<u64>,
    /// Main process.
    pub pid: Option<i32>,
    /// Seconds since this start.
    pub uptime_s: Option<f64>,
    /// Restarts after deaths since it was last started on purpose.
    pub restarts: u32,
    /// What the last probe said, or how it ended last.
    pub detail: Option<String>,
}

/// First or second slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// The first.
    Blue,
    /// The second.
    Green,
}

/// States of an instance's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Not running, and not meant to.
    Stopped,
    /// Running, not ready yet.
    Starting,
    /// Ready: probes succeed.
    Ready,
    /// It has come up; probes fail now.
    Unready,
    /// It gives no sign of life, and is about to be replaced.
    Hung,
    /// It died; the next start waits.
    Backoff,
    /// On its way down.
    Stopping,
    /// It was given up; `detail` says why.
    Failed,
    /// It ended by itself, and its restart policy leaves it at that; `detail` says how.
    Finished,
}

/// Role in an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// It gets requests.
    Serving,
    /// It gets requests when no serving member takes them.
    Backup,
    /// It is named but gets none.
    Down,
    /// It gets what is asked at the preview port, and no requests of clients.
    Preview,
    /// It gets a part of the requests: its `share`.
    Canary,
}
