//! What the control socket says and hears. Both binaries share these types; clients of other
//! languages find them in `/v1/openapi.json`.
//!
//! Times are RFC 3339 text where people read them, seconds where programs count them.

mod app;
mod backup;
mod daemon;
mod job;
mod nginx;
mod output;
mod plan;
mod problem;
mod requests;
mod rollout;
mod status;

pub use self::{
    app::{
        App, ArchiveHow, Code, DeployHow, DeployScope, OfRelease, OutputLine, Release,
        ReleaseState, RollbackHow,
    },
    backup::{
        Backup, KnownBackup, MakeBackup, PruneBackups, PrunedBackups, RestoreBackup, VerifyBackup,
    },
    daemon::{PROTOCOL, Reexec, Reload, ReloadAction, Reloaded, ServiceChange, Version},
    job::{JobStatus, Run, RunState, WaitRun},
    nginx::{NginxFile, NginxSnippet, NginxTest, Switch},
    output::{Events, LogLine, Logs},
    plan::{Plan, PlanTogether, PlanWay, Planned, PlannedStep, Undo},
    problem::{Problem, ProblemCode},
    requests::{RequestCount, Requests},
    rollout::{
        Act, Held, Left, Roll, RollTogether, Rollout, RolloutState, Step, TogetherWay, Wait,
    },
    status::{
        Colour, Confined, DaemonStatus, InstanceState, InstanceStatus, NginxStatus, Refusal,
        ServiceStatus, Status, Traffic, WorkerStatus,
    },
};
pub use super::manage::{Enable, Enablement, Forgiven, ReloadedInstance, ResetFailed};
