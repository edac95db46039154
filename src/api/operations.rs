//! What the server asks of the daemon, without knowing how anything is done.

use std::{future::Future, pin::Pin};

use tokio::sync::mpsc;

use super::{
    explain::Explanation,
    types::{
        Act, Enable, Enablement, Events, Forgiven, LogLine, Logs, NginxFile, NginxSnippet,
        NginxTest, Plan, PlanTogether, Planned, Problem, Reexec, Reload, Reloaded,
        ReloadedInstance, ResetFailed, Roll, RollTogether, Rollout, Run, Status, Version, Wait,
        WaitRun,
    },
};
use crate::{
    ident::{InstanceId, RolloutId, RunId, ServiceName},
    store::Event,
};

/// Result of an operation.
pub type Answer<T> = Result<T, Problem>;

/// A boxed future, so that [`Operations`] can be used behind `dyn`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who asks, by the socket's peer credentials (`SO_PEERCRED`, unix(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Process id at the time it connected.
    pub pid: i32,
    /// How far it may go.
    pub access: crate::config::Access,
}

/// What happens to one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop and start it, the same release.
    Restart,
}

/// What becomes of a service when its host boots, or aibkd is started after it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtBoot {
    /// It comes up.
    Enabled,
    /// It does not.
    Disabled,
}

/// How another release, or the other colour, comes into service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// T0 to T5.
    Rolling,
    /// Blue to green or back.
    Swap,
    /// Back to the colour from before the last swap, while it is warm.
    Rollback,
}

/// What becomes of a rollout that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes on.
    Promote,
    /// It goes back.
    Abort,
}

/// Everything that can be asked of the daemon. Reads never wait for an operation (`C1`); long
/// operations answer as soon as their intent is durable (`C3`).
///
/// Numbers in a query (`n`, `timeout_s`) are there and within their limits: the server sees to it.
pub trait Operations: super::apps::Applications + super::deploys::Deploys {
    /// Who answers.
    fn version(&self) -> Version;
    /// The whole state, observed now.
    fn status(&self) -> Pending<'_, Answer<Status>>;
    /// One instance, and why it is in its state.
    fn explain(&self, of: InstanceId) -> Pending<'_, Answer<Explanation>>;
    /// Begins to start, stop or restart an instance.
    fn act(&self, by: Caller, verb: Verb, on: InstanceId, how: Act)
    -> Pending<'_, Answer<Rollout>>;
    /// Begins a rollout of a service.
    fn roll(
        &self,
        by: Caller,
        way: Way,
        on: ServiceName,
        how: Roll,
    ) -> Pending<'_, Answer<Rollout>>;
    /// Begins one rollout of several services.
    fn roll_together(&self, by: Caller, how: RollTogether) -> Pending<'_, Answer<Rollout>>;
    /// What a rollout of a service would do. Nothing is done.
    fn plan(&self, on: ServiceName, how: Plan) -> Pending<'_, Answer<Planned>>;
    /// What one rollout of several services would do, in order. Nothing is done.
    fn plan_together(&self, how: PlanTogether) -> Pending<'_, Answer<Vec<Planned>>>;
    /// The last rollouts, newest first.
    fn rollouts(&self) -> Pending<'_, Answer<Vec<Rollout>>>;
    /// One rollout.
    fn rollout(&self, id: RolloutId) -> Pending<'_, Answer<Rollout>>;
    /// One rollout, once it has changed or ended.
    fn wait(&self, id: RolloutId, how: Wait) -> Pending<'_, Answer<Rollout>>;
    /// Turns a rollout back, if it has not passed its point of no return.
    fn cancel(&self, by: Caller, id: RolloutId) -> Pending<'_, Answer<Rollout>>;
    /// Lets the rollout of a service that is held go on, or turns it back.
    fn decide(
        &self,
        by: Caller,
        decision: Decision,
        on: ServiceName,
    ) -> Pending<'_, Answer<Rollout>>;
    /// Tells an instance to read its own configuration again; answers what came of it.
    fn reload_instance(&self, by: Caller, on: InstanceId) -> Pending<'_, Answer<ReloadedInstance>>;
    /// Whether a service comes up with its host.
    fn enable(
        &self,
        by: Caller,
        boot: AtBoot,
        on: ServiceName,
        how: Enable,
    ) -> Pending<'_, Answer<Enablement>>;
    /// Forgets the deaths of instances; those that had failed are stopped then.
    fn reset_failed(&self, by: Caller, how: ResetFailed) -> Pending<'_, Answer<Forgiven>>;
    /// Output of the instances `of`, and of all where there are none (the name of a service stands
    /// for all of its instances); the channel ends when there is no more to come. Without `n`, all
    /// lines from `since` on.
    fn logs(&self, of: Vec<InstanceId>, how: Logs) -> Pending<'_, Answer<mpsc::Receiver<LogLine>>>;
    /// Events; the channel ends when there is no more to come.
    fn events(&self, how: Events) -> Pending<'_, Answer<mpsc::Receiver<Event>>>;
    /// Lets the program that is installed now take the place of this one, if it can.
    fn reexec(&self, by: Caller) -> Pending<'_, Answer<Reexec>>;
    /// Reads the configuration again and applies what differs.
    fn reload(&self, by: Caller, how: Reload) -> Pending<'_, Answer<Reloaded>>;
    /// Begins a run of a job.
    fn run(&self, by: Caller, job: ServiceName) -> Pending<'_, Answer<Run>>;
    /// Begins to stop the run of a job that goes on.
    fn stop_run(&self, by: Caller, job: ServiceName) -> Pending<'_, Answer<Run>>;
    /// The last runs of a job, newest first.
    fn runs(&self, of: ServiceName) -> Pending<'_, Answer<Vec<Run>>>;
    /// One run, once it has ended.
    fn run_end(&self, id: RunId, how: WaitRun) -> Pending<'_, Answer<Run>>;
    /// The owned file and what nginx answers.
    fn nginx(&self) -> Pending<'_, Answer<NginxFile>>;
    /// The lines that a site needs for a service.
    fn nginx_snippet(&self, service: ServiceName) -> Pending<'_, Answer<NginxSnippet>>;
    /// `nginx -t`.
    fn nginx_test(&self) -> Pending<'_, Answer<NginxTest>>;
}
