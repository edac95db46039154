//! Everything comes up: in parallel, but each service only after what it depends on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{join_all, select_all};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use super::{
    Daemon,
    order::{self, Graph, Hold, Lack, Standing, Standings},
};
use crate::{config::Depends, ident::ServiceName, instance::Phase, job::Job, rollout::Crew};

/// How long it may take to find out what of an earlier daemon's services lives.
const LOOK: Duration = Duration::from_secs(30);

/// So many are started at once: what a start takes of the memory is taken so often, and is used again
/// for the next ones; more of it would leave holes between what stays. It keeps several processors
/// busy. Whoever is only waited for, until it is ready, is not counted.
const AT_ONCE: usize = 32;

/// Leave to be started, until this is dropped.
pub(super) type Turn = Option<OwnedSemaphorePermit>;

/// Why services are not started yet, for `status`.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<BTreeMap<ServiceName, String>>);

impl Waits {
    /// What `name` waits for.
    pub(super) fn of(&self, name: &ServiceName) -> Option<String> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, graph: &Graph, standings: &Standings) {
        let reason = |(name, standing): (&ServiceName, &Standing)| {
            let why = match standing {
                Standing::Held(hold) => hold.to_string(),
                Standing::Waiting => {
                    let on: Vec<_> = order::waits_for(graph.get(name)?, standings)
                        .map(ServiceName::as_str)
                        .collect();
                    if on.is_empty() {
                        return None;
                    }
                    format!("it starts after {}", on.join(", "))
                }
                _ => return None,
            };
            Some((name.clone(), why))
        };
        *self.lock() = standings.iter().filter_map(reason).collect();
    }
}

impl Daemon {
    /// What every service waits for.
    pub(super) fn graph(&self) -> Graph {
        let crews = self.engine.crews();
        let services = crews.values().map(|crew| &crew.service);
        let jobs = self.jobs.all();
        let jobs = jobs.iter().map(|job| &job.service);
        services.chain(jobs).map(|s| (s.name.clone(), s.depends.clone())).collect()
    }

    /// Boots every service when its turn comes. Returns when each is ready, or was reported as
    /// failed or held; a held one is started later, once what it requires is ready.
    pub(super) async fn rise(self: Arc<Self>) {
        let mut graph = self.graph();
        // What runs is not made to wait.
        let lives = self.lives().await;
        graph.extend(lives.iter().map(|name| (name.clone(), Depends::default())));
        let needed = self.needed(&graph, &lives);
        let idle = |name: &ServiceName| self.jobs.has(name) && !needed.contains(name);
        let first = |name| if idle(name) { Standing::Up } else { Standing::Waiting };
        let mut standings: Standings =
            graph.keys().map(|name| (name.clone(), first(name))).collect();
        let mut boots = JoinSet::new();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        // Once everybody has had their turn there is nobody to look for.
        while standings.values().any(|standing| *standing == Standing::Waiting) {
            let mut turns = order::turns(&graph, &standings);
            self.waits.show(&graph, &standings);
            if turns.is_empty() && !hear(&mut boots, &mut standings).await {
                break;
            }
            // Those that need no place wait for none.
            turns.sort_by_key(|(name, turn)| {
                matches!(turn, order::Turn::Start) && !self.jobs.has(name)
            });
            for (name, turn) in turns {
                let standing = match turn {
                    order::Turn::Start => {
                        if let Some(job) = self.jobs.get(&name) {
                            boots.spawn(Arc::clone(&self).run_first(job));
                        } else {
                            // Its task begins once there is a place for it. Nobody closes them.
                            let place = Arc::clone(&places).acquire_owned().await.ok();
                            standings.extend(ended(&mut boots));
                            boots.spawn(Arc::clone(&self).start_in(place, name.clone()));
                        }
                        Standing::Starting
                    }
                    order::Turn::Hold(hold) => {
                        self.record_of(&name, "service.held", format!("{name} is held: {hold}"));
                        tokio::spawn(Arc::clone(&self).release(name.clone()));
                        Standing::Held(hold)
                    }
                };
                standings.insert(name, standing);
            }
        }
        self.waits.show(&graph, &standings);
        while hear(&mut boots, &mut standings).await {}
    }

    /// Boots `name`; how it stands then.
    async fn start_in(self: Arc<Self>, place: Turn, name: ServiceName) -> (ServiceName, Standing) {
        // Boxed: the task is kept for a while after its end, and should be small then.
        Box::pin(Arc::clone(&self).boot(name.clone(), place)).await;
        let standing = self.booted(&name);
        (name, standing)
    }

    /// Runs `job`; how it stands then.
    async fn run_first(self: Arc<Self>, job: Job) -> (ServiceName, Standing) {
        self.run_before(&job).await;
        let name = job.service.name.clone();
        let standing = self.booted(&name);
        (name, standing)
    }

    /// Boots `name` once what it requires is ready.
    pub(super) fn hold_back(&self, name: &ServiceName, hold: &Hold) {
        self.record_of(name, "service.held", format!("{name} is held: {hold}"));
        self.waits.lock().insert(name.clone(), hold.to_string());
        self.run_when_possible(name);
    }

    /// Boots `name`, or runs it where it is a job, once what it requires is there.
    pub(super) fn run_when_possible(&self, name: &ServiceName) {
        if let Some(daemon) = self.me.get().and_then(std::sync::Weak::upgrade) {
            tokio::spawn(daemon.release(name.clone()));
        }
    }

    /// Boots a held service once everything that it requires is ready. A held job is run with
    /// whoever needs it.
    async fn release(self: Arc<Self>, name: ServiceName) {
        let graph = self.graph();
        let Some(depends) = graph.get(&name) else { return };
        while let Some(hold) = self.lack(depends) {
            // Its driver is gone when the daemon ends.
            if self.until_ready(&hold.on).await.is_none() {
                return;
            }
        }
        self.waits.lock().remove(&name);
        match self.jobs.get(&name) {
            Some(job) => self.run_before(&job).await,
            None => Arc::clone(&self).boot(name.clone(), None).await,
        }
    }

    /// Waits until `name` is as those want it who require it; `None` when nobody tells any more.
    async fn until_ready(&self, name: &ServiceName) -> Option<()> {
        if let Some(job) = self.jobs.get(name) {
            let mut view = job.watch();
            let done = view.wait_for(|_| Self::standing_of(&job) == Standing::Up).await;
            return done.ok().map(drop);
        }
        let crew = self.engine.crew(name).ok()?;
        let ready = crew.instances.values().map(|instance| {
            let mut view = instance.watch();
            Box::pin(async move { view.wait_for(|v| v.phase == Phase::Ready).await.map(drop) })
        });
        let (ready, ..) = select_all(ready).await;
        ready.ok()
    }

    /// Services of which something was taken over from an earlier daemon.
    async fn lives(&self) -> BTreeSet<ServiceName> {
        let crews = self.engine.crews();
        let lives = join_all(crews.values().map(|crew| runs(crew))).await;
        crews.keys().zip(lives).filter(|(_, lives)| *lives).map(|(name, _)| name.clone()).collect()
    }

    /// The first of what is required that is not ready now.
    pub(super) fn lack(&self, depends: &Depends) -> Option<Hold> {
        depends.requires.iter().find_map(|on| {
            let is = match self.standing(on) {
                Standing::Up => return None,
                Standing::Failed => Lack::Failed,
                Standing::Stopped if self.jobs.has(on) => Lack::NotRun,
                Standing::Stopped => Lack::Stopped,
                _ => Lack::NotReady,
            };
            Some(Hold { on: on.clone(), is })
        })
    }

    /// How a service stands when its boot has ended: one that is still starting had all its time.
    fn booted(&self, name: &ServiceName) -> Standing {
        match self.standing(name) {
            Standing::Starting => Standing::Failed,
            standing => standing,
        }
    }

    /// How a service stands by itself.
    fn standing(&self, name: &ServiceName) -> Standing {
        if let Some(job) = self.jobs.get(name) {
            return Self::standing_of(&job);
        }
        let Ok(crew) = self.engine.crew(name) else { return Standing::Stopped };
        let phases: Vec<Phase> = crew.instances.values().map(|i| i.view().phase).collect();
        if phases.contains(&Phase::Ready) {
            Standing::Up
        } else if phases.contains(&Phase::Failed) {
            Standing::Failed
        } else if phases.iter().all(|phase| matches!(phase, Phase::Stopped | Phase::Finished)) {
            Standing::Stopped
        } else {
            Standing::Starting
        }
    }
}

/// Waits until one of `boots` has ended, or more; whether there was one.
async fn hear(boots: &mut JoinSet<(ServiceName, Standing)>, standings: &mut Standings) -> bool {
    let Some(first) = boots.join_next().await else { return false };
    standings.extend(first.ok().into_iter().chain(ended(boots)));
    true
}

/// Those of `boots` that have ended. A panic was told where it happened; whoever waits for it waits on.
fn ended(
    boots: &mut JoinSet<(ServiceName, Standing)>,
) -> impl Iterator<Item = (ServiceName, Standing)> {
    std::iter::from_fn(|| boots.try_join_next()).flatten()
}

/// Whether something of it was taken over from an earlier daemon.
async fn runs(crew: &Crew) -> bool {
    let looks = crew.instances.values().map(|instance| {
        instance.until(LOOK, |view| view.identity.is_some() || view.phase != Phase::Starting)
    });
    let seen = join_all(looks).await;
    seen.into_iter().flatten().any(|view| view.identity.is_some())
}
