//! What the control socket asks of the daemon, done.

use std::{collections::BTreeSet, time::Duration};

use tokio::sync::mpsc;

use super::{Daemon, logs, problems, streams, views};
use crate::{
    api::{
        explain::Explanation,
        operations::{Answer, AtBoot, Caller, Decision, Operations, Pending, Verb, Way},
        types::{
            Act, Enable, Enablement, Events, Forgiven, LogLine, Logs, NginxFile, NginxSnippet,
            NginxTest, PROTOCOL, Plan, PlanTogether, Planned, Reexec, Reload, Reloaded,
            ReloadedInstance, ResetFailed, Roll, RollTogether, Rollout, Run, Status, Version, Wait,
            WaitRun,
        },
    },
    ident::{InstanceId, RolloutId, RunId, ServiceName},
    instance::Instance,
    release::Release,
    rollout::{
        draft::{Pause, Request},
        record::{Kind, Loss},
    },
    store::Event,
};

/// Rollouts that are listed.
const LISTED: usize = 50;

/// Lines or events that a slow reader may be behind.
const BACKLOG: usize = 256;

impl Operations for Daemon {
    fn version(&self) -> Version {
        Version {
            daemon: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            pid: std::process::id(),
            begun: views::moment(self.since),
        }
    }

    fn status(&self) -> Pending<'_, Answer<Status>> {
        Box::pin(async { Ok(self.look().await) })
    }

    fn explain(&self, of: InstanceId) -> Pending<'_, Answer<Explanation>> {
        Box::pin(async move { self.account_for(&of).await })
    }

    fn act(
        &self,
        by: Caller,
        verb: Verb,
        on: InstanceId,
        how: Act,
    ) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            self.instance(&on)?;
            self.refuse_own_nginx(&on)?;
            let kind = match verb {
                Verb::Start => Kind::Start,
                Verb::Stop => Kind::Stop,
                Verb::Restart => Kind::Restart,
            };
            let loss = loss(how.force);
            let request = |current| {
                let slot = Some(on.slot);
                Request { slot, loss, ..Request::of(kind, current) }
            };
            self.begin(&on.service, request, None, &by).await
        })
    }

    fn roll(
        &self,
        by: Caller,
        way: Way,
        on: ServiceName,
        how: Roll,
    ) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            let kind = match way {
                Way::Rolling => Kind::Rolling,
                Way::Swap => Kind::Swap,
                Way::Rollback => Kind::Rollback,
            };
            let named = match how.release {
                Some(path) => Some(self.named(&on, path).await?),
                None => None,
            };
            let pause = if how.hold { Pause::BeforeTraffic } else { Pause::Never };
            let given = named.clone().or_else(|| self.present(kind, &on));
            let loss = loss(how.force);
            let request = |current| Request { named, loss, pause, ..Request::of(kind, current) };
            self.begin(&on, request, given, &by).await
        })
    }

    fn plan(&self, on: ServiceName, how: Plan) -> Pending<'_, Answer<Planned>> {
        Box::pin(async move { self.foretell(on, how).await })
    }

    fn plan_together(&self, how: PlanTogether) -> Pending<'_, Answer<Vec<Planned>>> {
        Box::pin(async move { self.foretell_together(how).await })
    }

    fn roll_together(&self, by: Caller, how: RollTogether) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move { self.begin_together(name(&by), how).await })
    }

    fn rollouts(&self) -> Pending<'_, Answer<Vec<Rollout>>> {
        Box::pin(async {
            let mut all = self.last_deploys(LISTED).await?;
            let members = all.iter().flat_map(|deploy| &deploy.members);
            let told: BTreeSet<u64> = members.map(|member| member.id).collect();
            let alone = self.history(LISTED).await?.into_iter();
            all.extend(alone.filter(|rollout| !told.contains(&rollout.id)));
            all.sort_by_key(|rollout| std::cmp::Reverse(rollout.id));
            all.truncate(LISTED);
            Ok(all)
        })
    }

    fn rollout(&self, id: RolloutId) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            match self.deploy_shown(id).await? {
                Some(deploy) => Ok(deploy),
                None => self.shown(id).await,
            }
        })
    }

    fn wait(&self, id: RolloutId, how: Wait) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            match self.deploy_changed(id, &how).await? {
                Some(deploy) => Ok(deploy),
                None => self.changed(id, &how).await,
            }
        })
    }

    fn cancel(&self, by: Caller, id: RolloutId) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            self.may_change()?;
            if let Some(turned) = self.cancel_deploy(id, &by).await? {
                return Ok(turned);
            }
            self.engine.cancel(id, &name(&by)).await.map_err(|e| problems::of_engine(&e))?;
            self.shown(id).await
        })
    }

    fn decide(
        &self,
        by: Caller,
        decision: Decision,
        on: ServiceName,
    ) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            self.may_change()?;
            let decided = match decision {
                Decision::Promote => self.engine.promote(&on, &name(&by)).await,
                Decision::Abort => self.engine.abort(&on, &name(&by)).await,
            };
            let decided = decided.map_err(|e| problems::of_engine(&e))?;
            Ok(views::rollout(&decided, views::now()))
        })
    }

    fn reload_instance(&self, by: Caller, on: InstanceId) -> Pending<'_, Answer<ReloadedInstance>> {
        Box::pin(async move { self.tell_to_reload(&by, on).await })
    }

    fn enable(
        &self,
        by: Caller,
        boot: AtBoot,
        on: ServiceName,
        how: Enable,
    ) -> Pending<'_, Answer<Enablement>> {
        Box::pin(async move { self.set_at_boot(&by, boot, on, how).await })
    }

    fn reset_failed(&self, by: Caller, how: ResetFailed) -> Pending<'_, Answer<Forgiven>> {
        Box::pin(async move { self.forgive(&by, how).await })
    }

    fn logs(&self, of: Vec<InstanceId>, how: Logs) -> Pending<'_, Answer<mpsc::Receiver<LogLine>>> {
        Box::pin(async move {
            let whose = self.whose(&of)?;
            let (send, receive) = mpsc::channel(BACKLOG);
            logs::tell(whose, &how, send).await?;
            Ok(receive)
        })
    }

    fn events(&self, how: Events) -> Pending<'_, Answer<mpsc::Receiver<Event>>> {
        Box::pin(async move {
            let more = how.follow.then(|| self.store.subscribe());
            let n = how.n.unwrap_or_default();
            let past = self
                .store
                .events(how.after, n)
                .await
                .map_err(|e| problems::failed(&e.to_string()))?;
            let (send, receive) = mpsc::channel(BACKLOG);
            tokio::spawn(streams::events(past, how.after, more, send));
            Ok(receive)
        })
    }

    fn reload(&self, by: Caller, how: Reload) -> Pending<'_, Answer<Reloaded>> {
        Box::pin(async move { self.reload(&how, &name(&by)).await })
    }

    fn run(&self, by: Caller, job: ServiceName) -> Pending<'_, Answer<Run>> {
        Box::pin(async move { self.run_job(by, &job).await })
    }

    fn stop_run(&self, by: Caller, job: ServiceName) -> Pending<'_, Answer<Run>> {
        Box::pin(async move { self.stop_job(by, &job).await })
    }

    fn runs(&self, of: ServiceName) -> Pending<'_, Answer<Vec<Run>>> {
        Box::pin(async move { self.runs_of(&of).await })
    }

    fn run_end(&self, id: RunId, how: WaitRun) -> Pending<'_, Answer<Run>> {
        Box::pin(async move {
            let within = Duration::try_from_secs_f64(how.timeout_s.unwrap_or_default());
            self.run_ended(id.0, within.unwrap_or_default()).await
        })
    }

    fn reexec(&self, _by: Caller) -> Pending<'_, Answer<Reexec>> {
        Box::pin(async move { self.make_way(self.version()).await })
    }

    fn nginx(&self) -> Pending<'_, Answer<NginxFile>> {
        Box::pin(async { self.nginx_file().await.ok_or_else(problems::no_nginx) })
    }

    fn nginx_snippet(&self, service: ServiceName) -> Pending<'_, Answer<NginxSnippet>> {
        Box::pin(async move {
            let snippet = super::snippet(&self.config.now(), &service);
            snippet.ok_or_else(|| problems::not_behind_nginx(&service))
        })
    }

    fn nginx_test(&self) -> Pending<'_, Answer<NginxTest>> {
        Box::pin(async {
            let nginx = self.nginx.as_ref().ok_or_else(problems::no_nginx)?;
            Ok(match nginx.test().await {
                Ok(output) => NginxTest { ok: true, output },
                Err(e) => NginxTest { ok: false, output: e.to_string() },
            })
        })
    }
}

impl Daemon {
    pub(super) async fn begin(
        &self,
        service: &ServiceName,
        request: impl FnOnce(Release) -> Request,
        given: Option<Release>,
        by: &Caller,
    ) -> Answer<Rollout> {
        let request = self.prepared(service, request, given)?;
        let begun = self.engine.begin(service, request, name(by)).await;
        Ok(views::rollout(&begun.map_err(|e| problems::of_engine(&e))?, views::now()))
    }

    /// What is asked of `service`, unless something outside it is in the way.
    pub(super) fn prepared(
        &self,
        service: &ServiceName,
        request: impl FnOnce(Release) -> Request,
        given: Option<Release>,
    ) -> Answer<Request> {
        self.prepared_beside(service, request, given, &[])
    }

    /// As [`Daemon::prepared`], where what it requires of `others` will be there.
    pub(super) fn prepared_beside(
        &self,
        service: &ServiceName,
        request: impl FnOnce(Release) -> Request,
        given: Option<Release>,
        others: &[ServiceName],
    ) -> Answer<Request> {
        self.may_change()?;
        if self.jobs.has(service) {
            return Err(problems::is_job(service));
        }
        let crew = self.engine.crew(service).map_err(|e| problems::of_engine(&e))?;
        let current = match given {
            Some(given) => given,
            None => Release::resolve(&crew.service)
                .map_err(|e| problems::refused(&e.to_string(), None))?,
        };
        let request = request(current);
        let starts =
            matches!(request.kind, Kind::Start | Kind::Restart | Kind::Rolling | Kind::Swap);
        let mut depends = crew.service.depends.clone();
        depends.requires.retain(|on| !others.contains(on));
        if let Some(hold) = self.lack(&depends).filter(|_| starts) {
            return Err(problems::held(service, &hold));
        }
        Ok(request)
    }

    /// What runs, for whoever brings in nothing else: the configured directory need not be there.
    pub(super) fn present(&self, kind: Kind, on: &ServiceName) -> Option<Release> {
        let crew = self.engine.crew(on).ok().filter(|_| kind == Kind::Rollback)?;
        crew.instances.values().find_map(|instance| instance.view().release)
    }

    /// Rollouts that an earlier daemon left come first: what they hold is not known before.
    pub(super) fn may_change(&self) -> Answer<()> {
        self.resumed.get().copied().ok_or_else(problems::coming_up)
    }

    pub(super) fn instance(&self, id: &InstanceId) -> Answer<Instance> {
        let crew = self.engine.crew(&id.service).ok();
        let known = crew.as_ref().and_then(|crew| crew.instances.get(&id.slot));
        let known = known.filter(|known| known.id() == id);
        let nginx = self.managed_nginx.as_ref().filter(|nginx| nginx.id() == id);
        let job = self.jobs.get(&id.service).map(|job| job.instance).filter(|job| job.id() == id);
        known.or(nginx).cloned().or(job).ok_or_else(|| problems::no_instance(id, crew.as_deref()))
    }
}

pub(super) const fn loss(force: bool) -> Loss {
    if force { Loss::Accepted } else { Loss::Never }
}

pub(super) fn name(by: &Caller) -> String {
    format!("uid {}", by.uid)
}
