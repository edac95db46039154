//! The daemon as its control socket shows it: one method per route, and nothing else.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use crate::{
    api::{
        client::{Client, ClientError, Lines, Outgoing, target},
        deploys::Fate,
        explain::Explanation,
        types::{
            Act, App, ArchiveHow, Backup, DeployHow, Enable, Enablement, Events, Forgiven, Logs,
            MakeBackup, NginxFile, NginxSnippet, NginxTest, OfRelease, OutputLine, Plan,
            PlanTogether, Planned, PruneBackups, PrunedBackups, Reexec, Release, Reload, Reloaded,
            ReloadedInstance, ResetFailed, RestoreBackup, Roll, RollTogether, RollbackHow, Rollout,
            Run, Status, VerifyBackup, Version, Wait, WaitRun,
        },
    },
    ident::{AppName, InstanceId, ServiceName},
};

pub(super) use crate::api::operations::{AtBoot, Decision, Verb, Way};

/// What the daemon's answer may take beyond the time it was told to wait.
const GRACE: Duration = Duration::from_secs(5);

/// The longest deadline that a configuration may give a reload.
const RELOAD: Duration = Duration::from_secs(60);

/// As long as a decision may wait to be heeded.
const HEED: Duration = Duration::from_secs(35);

/// An empty body.
#[derive(Debug, Serialize)]
struct Nothing {}

/// The daemon at a socket.
pub(super) struct Daemon {
    client: Client,
    socket: PathBuf,
}

pub(super) type Answer<T> = Result<T, ClientError>;

impl Daemon {
    pub(super) fn at(socket: PathBuf) -> Self {
        Self { client: Client::new(socket.clone()), socket }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) async fn version(&self) -> Answer<Version> {
        self.client.get("/v1/version").await
    }

    pub(super) async fn releases(&self, of: &AppName) -> Answer<Vec<Release>> {
        self.client.get(&format!("/v1/apps/{of}/releases")).await
    }

    pub(super) async fn deploy(&self, app: &AppName, how: &DeployHow) -> Answer<Rollout> {
        self.client.post(&format!("/v1/apps/{app}/deploy"), how).await
    }

    pub(super) async fn deploy_archive(
        &self,
        app: &AppName,
        how: &ArchiveHow,
        archive: Outgoing,
        told: &mut (dyn FnMut(u64) + Send),
    ) -> Answer<Rollout> {
        let target = target(&format!("/v1/apps/{app}/deploy/archive"), how)?;
        self.client.post_bytes(&target, archive, told).await
    }

    pub(super) async fn output(&self, of: u64) -> Answer<Vec<OutputLine>> {
        self.client.get(&format!("/v1/rollouts/{of}/output")).await
    }

    pub(super) async fn roll_back(&self, app: &AppName, how: &RollbackHow) -> Answer<Rollout> {
        self.client.post(&format!("/v1/apps/{app}/rollback"), how).await
    }

    pub(super) async fn decide_on(
        &self,
        app: &AppName,
        fate: Fate,
        release: &OfRelease,
    ) -> Answer<Vec<Release>> {
        let fate = match fate {
            Fate::Pinned => "pin",
            Fate::Unpinned => "unpin",
            Fate::Removed => "remove",
        };
        self.client.post(&format!("/v1/apps/{app}/{fate}"), release).await
    }

    pub(super) async fn status(&self) -> Answer<Status> {
        self.client.get("/v1/status").await
    }

    pub(super) async fn explain(&self, of: &InstanceId) -> Answer<Explanation> {
        self.client.get(&format!("/v1/instances/{of}/explain")).await
    }

    pub(super) async fn act(&self, verb: Verb, on: &InstanceId, how: &Act) -> Answer<Rollout> {
        let verb = match verb {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
        };
        self.client.post(&format!("/v1/instances/{on}/{verb}"), how).await
    }

    pub(super) async fn roll(&self, way: Way, on: &ServiceName, how: &Roll) -> Answer<Rollout> {
        let way = match way {
            Way::Rolling => "rolling",
            Way::Swap => "swap",
            Way::Rollback => "rollback",
        };
        self.client.post(&format!("/v1/services/{on}/{way}"), how).await
    }

    pub(super) async fn roll_together(&self, how: &RollTogether) -> Answer<Rollout> {
        self.client.post("/v1/rollouts", how).await
    }

    pub(super) async fn plan(&self, on: &ServiceName, how: &Plan) -> Answer<Planned> {
        self.client.get(&target(&format!("/v1/services/{on}/plan"), how)?).await
    }

    pub(super) async fn plan_together(&self, how: &PlanTogether) -> Answer<Vec<Planned>> {
        self.client.get(&target("/v1/plan", how)?).await
    }

    pub(super) async fn rollouts(&self) -> Answer<Vec<Rollout>> {
        self.client.get("/v1/rollouts").await
    }

    pub(super) async fn rollout(&self, id: u64) -> Answer<Rollout> {
        self.client.get(&format!("/v1/rollouts/{id}")).await
    }

    /// The rollout once its revision is not `revision`, at the latest after `patience`.
    pub(super) async fn wait(&self, id: u64, revision: u64, patience: Duration) -> Answer<Rollout> {
        let how = Wait { revision, timeout_s: Some(patience.as_secs_f64()) };
        let path = target(&format!("/v1/rollouts/{id}/wait"), &how)?;
        self.client.get_within(&path, patience + GRACE).await
    }

    pub(super) async fn cancel(&self, id: u64) -> Answer<Rollout> {
        self.client.post(&format!("/v1/rollouts/{id}/cancel"), &Nothing {}).await
    }

    pub(super) async fn decide(&self, decision: Decision, on: &ServiceName) -> Answer<Rollout> {
        let verb = match decision {
            Decision::Promote => "promote",
            Decision::Abort => "abort",
        };
        self.client.post_within(&format!("/v1/services/{on}/{verb}"), &Nothing {}, HEED).await
    }

    /// As long as the longest reload may take.
    pub(super) async fn reload_instance(&self, on: &InstanceId) -> Answer<ReloadedInstance> {
        let target = format!("/v1/instances/{on}/reload");
        self.client.post_within(&target, &Nothing {}, RELOAD + GRACE).await
    }

    pub(super) async fn enable(
        &self,
        boot: AtBoot,
        on: &ServiceName,
        how: &Enable,
    ) -> Answer<Enablement> {
        let verb = match boot {
            AtBoot::Enabled => "enable",
            AtBoot::Disabled => "disable",
        };
        self.client.post(&format!("/v1/services/{on}/{verb}"), how).await
    }

    pub(super) async fn reset_failed(&self, how: &ResetFailed) -> Answer<Forgiven> {
        self.client.post("/v1/reset-failed", how).await
    }

    /// Runs a job.
    pub(super) async fn run(&self, job: &ServiceName) -> Answer<Run> {
        self.client.post(&format!("/v1/jobs/{job}/run"), &Nothing {}).await
    }

    /// Stops the run of a job.
    pub(super) async fn stop_run(&self, job: &ServiceName) -> Answer<Run> {
        self.client.post(&format!("/v1/jobs/{job}/stop"), &Nothing {}).await
    }

    pub(super) async fn runs(&self, of: &ServiceName) -> Answer<Vec<Run>> {
        self.client.get(&format!("/v1/jobs/{of}/runs")).await
    }

    /// The run once it has ended, at the latest after `patience`.
    pub(super) async fn run_end(&self, id: u64, patience: Duration) -> Answer<Run> {
        let how = WaitRun { timeout_s: Some(patience.as_secs_f64()) };
        let path = target(&format!("/v1/runs/{id}/wait"), &how)?;
        self.client.get_within(&path, patience + GRACE).await
    }

    pub(super) async fn apps(&self) -> Answer<Vec<App>> {
        self.client.get("/v1/apps").await
    }

    pub(super) async fn backups(&self, of: &AppName) -> Answer<Vec<Backup>> {
        self.client.get(&format!("/v1/apps/{of}/backups")).await
    }

    pub(super) async fn backup(&self, of: &AppName, how: &MakeBackup) -> Answer<Run> {
        self.client.post(&format!("/v1/apps/{of}/backups"), how).await
    }

    pub(super) async fn verify_backup(&self, of: &AppName, how: &VerifyBackup) -> Answer<Run> {
        self.client.post(&format!("/v1/apps/{of}/backups/verify"), how).await
    }

    pub(super) async fn restore_backup(&self, of: &AppName, how: &RestoreBackup) -> Answer<Run> {
        self.client.post(&format!("/v1/apps/{of}/backups/restore"), how).await
    }

    pub(super) async fn prune_backups(
        &self,
        of: &AppName,
        how: &PruneBackups,
    ) -> Answer<PrunedBackups> {
        self.client.post_within(&format!("/v1/apps/{of}/backups/prune"), how, HEED).await
    }

    pub(super) async fn cancel_run(&self, id: u64) -> Answer<Run> {
        self.client.post(&format!("/v1/runs/{id}/cancel"), &Nothing {}).await
    }

    /// Lines of output, one by one.
    pub(super) async fn logs(&self, how: &Logs) -> Answer<Lines> {
        self.client.lines(&target("/v1/logs", how)?).await
    }

    /// Events, one by one.
    pub(super) async fn events(&self, n: usize, follow: bool) -> Answer<Lines> {
        let how = Events { after: 0, n: Some(n), follow };
        self.client.lines(&target("/v1/events", &how)?).await
    }

    pub(super) async fn reload(&self, how: &Reload) -> Answer<Reloaded> {
        self.client.post("/v1/daemon/reload", how).await
    }

    pub(super) async fn reexec(&self) -> Answer<Reexec> {
        self.client.post("/v1/daemon/reexec", &Nothing {}).await
    }

    pub(super) async fn nginx(&self) -> Answer<NginxFile> {
        self.client.get("/v1/nginx").await
    }

    pub(super) async fn nginx_snippet(&self, service: &ServiceName) -> Answer<NginxSnippet> {
        self.client.get(&format!("/v1/nginx/snippets/{service}")).await
    }

    pub(super) async fn nginx_test(&self) -> Answer<NginxTest> {
        self.client.post("/v1/nginx/test", &Nothing {}).await
    }
}
