//! A daemon that only writes down what it was asked.

use std::sync::Mutex;

use tokio::sync::{Notify, mpsc};

use crate::{
    api::{
        apps::Applications,
        deploys::{Deploys, Fate},
        explain::Explanation,
        operations::{Answer, AtBoot, Caller, Decision, Operations, Pending, Verb, Way},
        sent::Sent,
        types::*,
    },
    ident::{AppName, InstanceId, RolloutId, RunId, ServiceName},
    store::Event,
};

/// Rollouts with a meaning of their own.
pub(super) const MISSING: u64 = 404;
pub(super) const PANICS: u64 = 500;
pub(super) const NEVER_ENDS: u64 = 99;
/// An instance whose start waits for [`Fake::go`].
pub(super) const WAITS: &str = "slow@1";

/// An application that has no room for archives.
pub(super) const FULL: &str = "full";

#[derive(Default)]
pub(super) struct Fake {
    pub(super) asked: Mutex<Vec<String>>,
    pub(super) go: Notify,
    /// Something was written into `asked`, or a follower was added.
    pub(super) news: Notify,
    pub(super) followers: Mutex<Vec<mpsc::Sender<LogLine>>>,
}

pub(super) fn rollout(id: u64) -> Rollout {
    Rollout {
        id,
        kind: "swap".into(),
        service: "api".into(),
        app: None,
        instance: None,
        release: None,
        code: None,
        by: "uid 0".into(),
        deploy: None,
        state: RolloutState::Running,
        begun: "2026-01-01T00:00:00Z".into(),
        elapsed_s: 1.5,
        steps: vec![],
        failure: None,
        cut: 0,
        committed: false,
        held: None,
        requests: None,
        undo: None,
        report: vec![],
        members: vec![],
        revision: 1,
    }
}

fn run(id: u64) -> Run {
    Run {
        id,
        job: "backup".into(),
        cause: "its schedule".into(),
        scheduled: None,
        state: RunState::Done,
        begun: "2026-01-01T00:00:00Z".into(),
        elapsed_s: 1.5,
        progress: None,
        told: None,
    }
}

fn nginx() -> NginxStatus {
    NginxStatus {
        answers: true,
        edition: Some(3),
        master: Some(1),
        workers: 1,
        leaving: 0,
        problem: None,
    }
}

pub(super) fn line(text: &str) -> LogLine {
    LogLine {
        instance: "api".into(),
        at: "2026-01-01T00:00:00Z".into(),
        generation: 1,
        stream: "stdout".into(),
        priority: "info".into(),
        text: text.into(),
        message: None,
        fields: serde_json::Map::new(),
    }
}

impl Fake {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
        self.news.notify_one();
    }

    pub(super) fn heard(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Deploys for Fake {
    fn releases(&self, of: AppName) -> Pending<'_, Answer<Vec<Release>>> {
        self.note(format!("releases of {of}"));
        Box::pin(async { Ok(vec![]) })
    }

    fn output(&self, of: RolloutId) -> Pending<'_, Answer<Vec<OutputLine>>> {
        self.note(format!("output of {of}"));
        Box::pin(async { Ok(vec![]) })
    }

    fn deploy(&self, by: Caller, app: AppName, how: DeployHow) -> Pending<'_, Answer<Rollout>> {
        self.note(format!("uid {} deploys {:?} of {app}", by.uid, how.reference));
        Box::pin(async { Ok(rollout(7)) })
    }

    fn deploy_archive(
        &self,
        by: Caller,
        app: AppName,
        how: ArchiveHow,
        mut sent: Sent,
    ) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            self.note(format!("uid {} sends {:?} bytes", by.uid, sent.length()));
            let mut bytes = 0;
            while let Some(piece) =
                sent.next().await.inspect_err(|e| self.note(e.message.clone()))?
            {
                bytes += piece.len();
                if app.as_str() == FULL {
                    return Err(Problem::new(
                        ProblemCode::Refused,
                        "no room",
                        "make some".to_owned(),
                    ));
                }
            }
            self.note(format!("{bytes} bytes of {app}, {:?}", how.scope));
            Ok(rollout(7))
        })
    }

    fn roll_back(
        &self,
        by: Caller,
        app: AppName,
        how: RollbackHow,
    ) -> Pending<'_, Answer<Rollout>> {
        self.note(format!("uid {} rolls {app} back to {:?}", by.uid, how.to));
        Box::pin(async { Ok(rollout(7)) })
    }

    fn decide_on(
        &self,
        by: Caller,
        app: AppName,
        fate: Fate,
        release: OfRelease,
    ) -> Pending<'_, Answer<Vec<Release>>> {
        self.note(format!("uid {}: {} of {app} is {fate:?}", by.uid, release.release));
        Box::pin(async { Ok(vec![]) })
    }
}

impl Operations for Fake {
    fn version(&self) -> Version {
        Version { daemon: "0".into(), protocol: PROTOCOL, pid: 1, begun: String::new() }
    }

    fn status(&self) -> Pending<'_, Answer<Status>> {
        let daemon =
            DaemonStatus { version: "0".into(), pid: 1, uptime_s: 1.0, config: "aibk.yaml".into() };
        Box::pin(async {
            Ok(Status {
                daemon,
                nginx: Some(nginx()),
                services: vec![],
                apps: vec![],
                jobs: vec![],
            })
        })
    }

    fn explain(&self, of: InstanceId) -> Pending<'_, Answer<Explanation>> {
        let instance = InstanceStatus {
            name: of.to_string(),
            colour: None,
            state: InstanceState::Ready,
            traffic: None,
            share: None,
            release: None,
            generation: None,
            pid: None,
            uptime_s: None,
            restarts: 0,
            detail: None,
            confined: Confined::default(),
            workers: vec![],
        };
        let (since_s, why, checks) = (1.0, "it says so itself".to_owned(), vec![]);
        Box::pin(async move { Ok(Explanation { instance, since_s, why, checks }) })
    }

    fn act(
        &self,
        by: Caller,
        verb: Verb,
        on: InstanceId,
        how: Act,
    ) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            if on.to_string() == WAITS {
                self.note("waiting".into());
                self.go.notified().await;
            }
            self.note(format!("{verb:?} {on} force={} by {}", how.force, by.uid));
            Ok(rollout(7))
        })
    }

    fn roll(
        &self,
        _by: Caller,
        way: Way,
        on: ServiceName,
        how: Roll,
    ) -> Pending<'_, Answer<Rollout>> {
        self.note(format!("{way:?} {on} release={:?}", how.release));
        Box::pin(async { Ok(rollout(8)) })
    }

    fn roll_together(&self, _by: Caller, how: RollTogether) -> Pending<'_, Answer<Rollout>> {
        self.note(format!("{how:?}"));
        Box::pin(async { Ok(rollout(8)) })
    }

    fn plan_together(&self, how: PlanTogether) -> Pending<'_, Answer<Vec<Planned>>> {
        self.note(format!("{how:?}"));
        Box::pin(async { Ok(vec![]) })
    }

    fn plan(&self, on: ServiceName, how: Plan) -> Pending<'_, Answer<Planned>> {
        self.note(format!("plan of {on} {how:?}"));
        let planned = Planned {
            kind: "rolling".into(),
            service: on.to_string(),
            instance: None,
            release: None,
            held: None,
            steps: vec![],
            no_return: None,
            deadline_s: 0.0,
            lossy: false,
        };
        Box::pin(async { Ok(planned) })
    }

    fn rollouts(&self) -> Pending<'_, Answer<Vec<Rollout>>> {
        Box::pin(async { Ok(vec![rollout(1)]) })
    }

    fn rollout(&self, id: RolloutId) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            match id.0 {
                MISSING => {
                    Err(Problem::new(ProblemCode::NotFound, "there is no rollout 404", None))
                }
                PANICS => panic!("on purpose"),
                id => Ok(rollout(id)),
            }
        })
    }

    fn wait(&self, id: RolloutId, how: Wait) -> Pending<'_, Answer<Rollout>> {
        self.note(format!("wait {id} {how:?}"));
        Box::pin(async move {
            if id.0 == NEVER_ENDS {
                std::future::pending::<()>().await;
            }
            Ok(rollout(id.0))
        })
    }

    fn cancel(&self, _by: Caller, id: RolloutId) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move { Ok(rollout(id.0)) })
    }

    fn decide(
        &self,
        by: Caller,
        decision: Decision,
        on: ServiceName,
    ) -> Pending<'_, Answer<Rollout>> {
        self.note(format!("{decision:?} {on} by {}", by.uid));
        Box::pin(async { Ok(rollout(7)) })
    }

    fn reload_instance(&self, by: Caller, on: InstanceId) -> Pending<'_, Answer<ReloadedInstance>> {
        self.note(format!("reload {on} by {}", by.uid));
        Box::pin(async { Ok(ReloadedInstance::default()) })
    }

    fn enable(
        &self,
        by: Caller,
        boot: AtBoot,
        on: ServiceName,
        how: Enable,
    ) -> Pending<'_, Answer<Enablement>> {
        self.note(format!("{boot:?} {on} {how:?} by {}", by.uid));
        let enabled = boot == AtBoot::Enabled;
        Box::pin(async move { Ok(Enablement { service: on.to_string(), enabled, rollout: None }) })
    }

    fn reset_failed(&self, by: Caller, how: ResetFailed) -> Pending<'_, Answer<Forgiven>> {
        self.note(format!("{how:?} by {}", by.uid));
        Box::pin(async { Ok(Forgiven::default()) })
    }

    fn logs(&self, of: Vec<InstanceId>, how: Logs) -> Pending<'_, Answer<mpsc::Receiver<LogLine>>> {
        let of = of.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        self.note(format!("logs {of} {:?} {:?} {}", how.n, how.grep, how.follow));
        Box::pin(async move {
            let (sender, lines) = mpsc::channel(512);
            for n in 0..how.n.unwrap_or(0).min(200) {
                sender.send(line(&format!("line {n}\nof {of}"))).await.unwrap();
            }
            if how.follow {
                self.followers.lock().unwrap().push(sender);
                self.news.notify_one();
            }
            Ok(lines)
        })
    }

    fn events(&self, how: Events) -> Pending<'_, Answer<mpsc::Receiver<Event>>> {
        self.note(format!("events {how:?}"));
        Box::pin(async move {
            let (sender, events) = mpsc::channel(4);
            for id in [how.after + 1, how.after + 2, 0] {
                let event = Event { id, kind: "test".into(), ..Event::default() };
                sender.send(event).await.unwrap();
            }
            Ok(events)
        })
    }

    fn run(&self, by: Caller, job: ServiceName) -> Pending<'_, Answer<Run>> {
        self.note(format!("run {job} by {}", by.uid));
        Box::pin(async { Ok(run(3)) })
    }

    fn stop_run(&self, by: Caller, job: ServiceName) -> Pending<'_, Answer<Run>> {
        self.note(format!("stop run of {job} by {}", by.uid));
        Box::pin(async { Ok(run(3)) })
    }

    fn runs(&self, of: ServiceName) -> Pending<'_, Answer<Vec<Run>>> {
        self.note(format!("runs of {of}"));
        Box::pin(async { Ok(vec![run(3)]) })
    }

    fn run_end(&self, id: RunId, how: WaitRun) -> Pending<'_, Answer<Run>> {
        self.note(format!("end of run {} {how:?}", id.0));
        Box::pin(async move { Ok(run(id.0)) })
    }

    fn nginx(&self) -> Pending<'_, Answer<NginxFile>> {
        let file = NginxFile { path: "aibk.conf".into(), text: None, status: nginx() };
        Box::pin(async { Ok(file) })
    }

    fn reload(&self, by: Caller, how: Reload) -> Pending<'_, Answer<Reloaded>> {
        self.note(format!("reload {how:?} by {}", by.uid));
        let changes = vec![];
        Box::pin(async move {
            Ok(Reloaded { dry_run: how.dry_run, changes, rollouts: vec![], troubles: vec![] })
        })
    }

    fn reexec(&self, by: Caller) -> Pending<'_, Answer<Reexec>> {
        self.note(format!("reexec by {}", by.uid));
        let before = self.version();
        Box::pin(async move { Ok(Reexec { before, after: "1".into() }) })
    }

    fn nginx_snippet(&self, service: ServiceName) -> Pending<'_, Answer<NginxSnippet>> {
        let service = service.to_string();
        let (http, server, location, log) = (vec![], vec![], vec![], vec![]);
        let switch = Switch::Reload;
        Box::pin(async move { Ok(NginxSnippet { service, switch, http, server, location, log }) })
    }

    fn nginx_test(&self) -> Pending<'_, Answer<NginxTest>> {
        Box::pin(async { Ok(NginxTest { ok: true, output: String::new() }) })
    }
}

impl Applications for Fake {
    fn apps(&self) -> Pending<'_, Answer<Vec<App>>> {
        self.note("apps".to_owned());
        Box::pin(async { Ok(vec![]) })
    }

    fn backups(&self, of: AppName) -> Pending<'_, Answer<Vec<Backup>>> {
        self.note(format!("backups of {of}"));
        Box::pin(async { Ok(vec![]) })
    }

    fn backup(&self, by: Caller, of: AppName, how: MakeBackup) -> Pending<'_, Answer<Run>> {
        self.note(format!("backup {of} {how:?} by {}", by.uid));
        Box::pin(async { Ok(run(3)) })
    }

    fn verify(&self, by: Caller, of: AppName, how: VerifyBackup) -> Pending<'_, Answer<Run>> {
        self.note(format!("verify {of} {how:?} by {}", by.uid));
        Box::pin(async { Ok(run(3)) })
    }

    fn restore(&self, by: Caller, of: AppName, how: RestoreBackup) -> Pending<'_, Answer<Run>> {
        self.note(format!("restore {of} {how:?} by {}", by.uid));
        Box::pin(async { Ok(run(3)) })
    }

    fn prune(
        &self,
        by: Caller,
        of: AppName,
        how: PruneBackups,
    ) -> Pending<'_, Answer<PrunedBackups>> {
        self.note(format!("prune {of} {how:?} by {}", by.uid));
        Box::pin(async { Ok(PrunedBackups { dry_run: true, removed: vec![] }) })
    }

    fn cancel_run(&self, by: Caller, id: RunId) -> Pending<'_, Answer<Run>> {
        self.note(format!("cancel run {} by {}", id.0, by.uid));
        Box::pin(async { Ok(run(3)) })
    }
}
