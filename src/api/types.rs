//! What the control socket says and hears. Both binaries share these types; clients of other
//! languages find them in `/v1/openapi.json`.
//!
//! Times are RFC 3339 text where people read them, seconds where programs count them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use super::manage::{Enable, Enablement, Forgiven, ReloadedInstance, ResetFailed};

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

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// nginx, where aibk drives one.
    pub nginx: Option<NginxStatus>,
    /// Every service.
    pub services: Vec<ServiceStatus>,
    /// Every job.
    #[serde(default)]
    pub jobs: Vec<JobStatus>,
}

/// One job in `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// When it runs, as configured; none where it runs only when asked to or needed.
    pub schedule: Option<String>,
    /// When it runs next by its schedule: RFC 3339.
    pub next: Option<String>,
    /// Its last run, which may go on.
    pub last: Option<Run>,
    /// It keeps to its schedule.
    pub enabled: bool,
    /// What keeps it from running.
    pub waits: Option<String>,
}

/// One run of a job: `POST /v1/jobs/{job}/run`, `GET /v1/runs/{run}/wait`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// Of which job.
    pub job: String,
    /// Why it ran.
    pub cause: String,
    /// The moment of the schedule that it is for: RFC 3339.
    pub scheduled: Option<String>,
    /// Going on, or how it ended.
    pub state: RunState,
    /// RFC 3339.
    pub begun: String,
    /// Seconds since it began, or that it took.
    pub elapsed_s: f64,
    /// How it ended, with its last lines where it failed.
    pub told: Option<String>,
}

/// State of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It goes on.
    Running,
    /// It ended with exit status 0.
    Done,
    /// It ended in any other way, was stopped, or could not be started.
    Failed,
}

/// Query of `GET /v1/runs/{run}/wait`: answers when the run has ended, or after `timeout_s` (at
/// most 60) with whatever is then.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitRun {
    /// Seconds.
    #[serde(default)]
    pub timeout_s: Option<f64>,
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
}

/// A rollout: `GET /v1/rollouts/{id}`, and the 202 answer of every long operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rollout {
    /// Its id.
    pub id: u64,
    /// What kind: `rolling`, `swap`, `start`, `stop`, `restart`; of the daemon's own: `boot`,
    /// `retire`, `reconfigure`, `remove`, `relieve`, `restore`, `replace`.
    pub kind: String,
    /// Whose.
    pub service: String,
    /// The instance it is about, for `start`, `stop` and `restart`.
    pub instance: Option<String>,
    /// Release it brings into service, where it brings one.
    pub release: Option<String>,
    /// Who asked for it: `uid 0`, or `aibkd`.
    pub by: String,
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
    /// It has passed its point of no return.
    pub committed: bool,
    /// Grows with each change; `wait` takes it.
    pub revision: u64,
}

/// State of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RolloutState {
    /// Under way.
    Running,
    /// Under way back to where it began.
    Undoing,
    /// Ended: everything it meant to do is so, by observation.
    Done,
    /// Ended: it failed, and everything is as before.
    Undone,
    /// Ended: it failed and could not be undone, or failed past its point of no return.
    Stuck,
}

impl RolloutState {
    /// It goes on no more.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Done | Self::Undone | Self::Stuck)
    }
}

/// One step of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// `start`, `await-ready`, `publish`, `watch`, `drain`, `stop`, `replace`, `dismiss`.
    pub name: String,
    /// What it acts on: `api@8001`, or the members published.
    pub on: String,
    /// Seconds it took; none while it is under way.
    pub took_s: Option<f64>,
    /// What was observed at its end, or what it waits for.
    pub note: Option<String>,
    /// It ended badly.
    pub failed: bool,
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

/// Query of `GET /v1/logs`; the answer is one [`LogLine`] of JSON per line, by time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Whose: names of instances, and of services for all of their instances, with commas between
    /// them; none: everybody's.
    #[serde(default)]
    pub of: Option<String>,
    /// How many lines back, of all together (at most 10,000); none: 100, or where `since` is given
    /// every line.
    #[serde(default)]
    pub n: Option<usize>,
    /// Only lines of this moment and later.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Only lines before this moment.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Only lines in which this regular expression is found (at most 1,024 bytes).
    #[serde(default)]
    pub grep: Option<String>,
    /// Go on with every new line.
    #[serde(default)]
    pub follow: bool,
}

/// One line of an instance's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Who wrote it: `api@8000`.
    pub instance: String,
    /// RFC 3339 with microseconds.
    pub at: String,
    /// Which start wrote it.
    pub generation: u64,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// How important it is, by what it says itself, else by the stream: a word of syslog(3), such
    /// as `err`, `warning` or `info`.
    pub priority: String,
    /// The line, as it was written.
    pub text: String,
    /// The message in it, where there is more than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What else a line of JSON says.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// Query of `GET /v1/events`; the answer is a stream of server-sent events, each with an
/// [`crate::store::Event`] as JSON, its `id` the event's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Only events after this id.
    #[serde(default)]
    pub after: u64,
    /// How many back at most (default 100, at most 10,000).
    #[serde(default)]
    pub n: Option<usize>,
    /// Go on with every new event.
    #[serde(default)]
    pub follow: bool,
}

/// `GET /v1/nginx`: the owned file, and what nginx itself answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NginxFile {
    /// Path of the file.
    pub path: String,
    /// Its text; none when there is none.
    pub text: Option<String>,
    /// Observed state.
    pub status: NginxStatus,
}

/// `POST /v1/nginx/test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NginxTest {
    /// `nginx -t` succeeded.
    pub ok: bool,
    /// nginx's own words.
    pub output: String,
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

/// Body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What kind; decides the exit code of `aibkctl`.
    pub code: ProblemCode,
    /// What failed, and on what.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// Kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// The request makes no sense (400).
    BadRequest,
    /// Who asks may not (403).
    Forbidden,
    /// No such thing (404).
    NotFound,
    /// Another rollout holds the service (409).
    Busy,
    /// The state of things forbids it (409).
    Refused,
    /// More than this server reads (413).
    TooLarge,
    /// Too slow (408).
    TooSlow,
    /// Not our fault or not understood (500).
    Failed,
}
