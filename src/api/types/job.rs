//! Jobs and their runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// One run of a job, or of what is done for an application: `POST /v1/jobs/{job}/run`,
/// `POST /v1/apps/{app}/backups`, `GET /v1/runs/{run}/wait`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// Of which job; `app:NAME` where it is done for an application.
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
    /// What is being done, where that is known.
    pub progress: Option<String>,
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
