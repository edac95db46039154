//! The configuration is read again: what differs is applied, and nothing else is touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{signal::unix::Signal, time::timeout};

use super::{
    Daemon,
    muster::{Muster, kept, site},
    problems,
};
use crate::{
    api::{
        operations::Answer,
        types::{Reload, ReloadAction, Reloaded, ServiceChange},
    },
    config::{
        Config, Service, Slots,
        change::{Changes, Difference, Key, Needs},
    },
    ident::{AppName, InstanceId, ServiceName},
    instance::{Instance, View},
    nginx::{Members, Role, Upstreams},
    release::Release,
    rollout::{
        Crew, Crews, EngineError, Hold, Standing,
        draft::Request,
        record::{Kind, Loss, Rollout},
    },
    sys::blocking,
};

/// How long the file may take to be read.
const READ: Duration = Duration::from_secs(10);
/// How long the drivers may take to hear of it; each ends what it is at first.
const ADAPT: Duration = Duration::from_secs(30);

/// The configuration in force.
#[derive(Debug)]
pub(super) struct Loaded {
    now: Mutex<Arc<Config>>,
    /// One reload at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Loaded {
    pub(super) fn new(config: Config) -> Self {
        Self { now: Mutex::new(Arc::new(config)), turn: tokio::sync::Mutex::default() }
    }

    pub(super) fn now(&self) -> Arc<Config> {
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, config: Arc<Config>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

/// A change of the configuration on its way.
struct Change {
    old: Arc<Config>,
    new: Arc<Config>,
    between: Changes,
    loss: Loss,
}

/// Reads the configuration again at each SIGHUP.
pub(super) async fn on_hangup(daemon: Arc<Daemon>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        // Whoever sent it reads the log.
        let _ = daemon.reload(&Reload::default(), "SIGHUP").await;
    }
}

impl Daemon {
    /// Reads the configuration again for `by`, and applies what differs. A refusal changes nothing.
    pub(super) async fn reload(&self, how: &Reload, by: &str) -> Answer<Reloaded> {
        let done = self.try_reload(how).await;
        match &done {
            Ok(reloaded) if how.dry_run || reloaded.changes.is_empty() => {}
            Ok(reloaded) => {
                let names: Vec<_> = reloaded.changes.iter().map(|c| c.service.as_str()).collect();
                let message = format!("{by} changed the configuration of {}", names.join(", "));
                self.record("config.reloaded", message);
            }
            Err(problem) => {
                let message = format!("{by} cannot change the configuration: {}", problem.message);
                self.record("config.refused", message);
            }
        }
        done
    }

    async fn try_reload(&self, how: &Reload) -> Answer<Reloaded> {
        self.may_change()?;
        let _turn = self.config.turn.lock().await;
        let old = self.config.now();
        let new = Arc::new(self.read_again().await?.sharing(&old));
        let between = Changes::between(&old, &new);
        if !between.fixed.is_empty() {
            return Err(problems::fixed(&between.fixed));
        }
        let loss = if how.force { Loss::Accepted } else { Loss::Never };
        let change = Change { old, new, between, loss };
        let changes = self.told(&change);
        let hold = self.engine.hold().await.map_err(|e| problems::of_engine(&e))?;
        hold.is_free(change.between.services.keys()).map_err(|e| problems::of_engine(&e))?;
        self.look_ahead(&change).await?;
        if how.dry_run || changes.is_empty() {
            return Ok(Reloaded {
                dry_run: how.dry_run,
                changes,
                rollouts: vec![],
                troubles: vec![],
            });
        }
        let unfit = self.put_in_force(&change, hold).await?;
        let mut reloaded = Reloaded { dry_run: false, changes, rollouts: vec![], troubles: vec![] };
        for (name, difference) in &change.between.services {
            let needs = match unfit.get(name) {
                Some(refusal) => refit(&change, name, refusal, &mut reloaded),
                None => difference.needs(),
            };
            match self.follow_up(name, difference, needs, change.loss).await {
                Ok(None) => {}
                Ok(Some(begun)) => {
                    reloaded.rollouts.push(super::views::rollout(&begun, super::views::now()));
                }
                Err(e) => reloaded.troubles.push(format!("{name}: {e}")),
            }
        }
        Ok(reloaded)
    }

    async fn read_again(&self) -> Answer<Config> {
        let path = self.config_path.clone();
        let read = blocking::within(READ, move || Config::load(Path::new(&path))).await;
        let read = read
            .map_err(|e| problems::failed(&format!("{} cannot be read: {e}", self.config_path)))?;
        let hint = || Some(format!("`aibkctl config check {}` tells the same", self.config_path));
        read.map_err(|mistakes| problems::refused(mistakes.to_string().trim_end(), hint()))
    }

    /// Whether what has to be started can be, without a lost request where none may be lost.
    async fn look_ahead(&self, change: &Change) -> Answer<()> {
        let crews = self.engine.crews();
        for (name, difference) in &change.between.services {
            let (Some(crew), Some(service)) = (crews.get(name), change.new.services.get(name))
            else {
                continue;
            };
            if difference.needs() < Needs::Start || !is_wanted(crew) {
                continue;
            }
            if difference.needs() == Needs::Gap && change.loss == Loss::Never {
                return Err(problems::gap(name));
            }
            let prospect = Crew { service: Arc::clone(service), ..(**crew).clone() };
            let request = request(service, difference, change.loss);
            let looked = match request {
                Ok(request) => self.engine.preview(&prospect, &request).await,
                Err(e) => Err(e),
            };
            looked.map_err(|e| problems::of_reload(name, &e))?;
        }
        Ok(())
    }

    /// nginx first, for it may refuse; then the services. Returns those of which something runs that
    /// could not be changed as it runs, and what.
    async fn put_in_force(
        &self,
        change: &Change,
        hold: Hold<'_>,
    ) -> Answer<BTreeMap<ServiceName, String>> {
        let crews = self.crews_by(change)?;
        if let Some(nginx) = &self.nginx
            && site(&change.old) != site(&change.new)
        {
            let resited = nginx.resite(site(&change.new), &unpublished(change, &crews)).await;
            resited.map_err(|e| {
                let hint = "correct nginx's own configuration or this one; nothing was changed";
                problems::refused(&e.to_string(), Some(hint.to_owned()))
            })?;
        }
        let changed = change.between.services.keys().filter_map(|name| crews.get(name));
        let changed: Vec<Arc<Crew>> = changed.cloned().collect();
        hold.replace(crews);
        self.deploys.replace(change.new.apps.clone());
        self.config.set(Arc::clone(&change.new));
        drop(hold);
        self.change_jobs(&change.new, &change.between).await?;
        self.change_apps(&change.between).await;
        let before = refusals(&changed);
        let adapts = changed.iter().flat_map(|crew| {
            let service = &crew.service;
            crew.instances.values().map(|instance| instance.adapt(Arc::clone(service)))
        });
        if timeout(ADAPT, join_all(adapts)).await.is_err() {
            tracing::warn!("an instance is busy; it goes on by its new definition afterwards");
        }
        let fresh = refusals(&changed).into_iter().filter(|refusal| !before.contains(refusal));
        Ok(fresh
            .map(|(id, refusal)| (id.service.clone(), format!("{id} has not {refusal}")))
            .collect())
    }

    fn crews_by(&self, change: &Change) -> Answer<Crews> {
        let there = self.engine.crews();
        let muster = Muster {
            config: &change.new,
            nginx: self.nginx.as_ref(),
            ground: &self.ground,
            rows: &[],
        };
        let mut crews = Crews::new();
        for service in kept(&change.new) {
            let known = there.get(&service.name);
            let crew = match known {
                Some(crew) if !change.between.services.contains_key(&service.name) => {
                    Arc::clone(crew)
                }
                _ => {
                    let crew = muster.crew(service, known.map(|crew| &**crew));
                    Arc::new(crew.map_err(|e| problems::failed(&e.to_string()))?)
                }
            };
            crews.insert(service.name.clone(), crew);
        }
        for (name, crew) in there.iter().filter(|(name, _)| !crews_has(&change.new, name)) {
            let leaving = Crew { standing: Standing::Leaving, ..(**crew).clone() };
            crews.insert(name.clone(), Arc::new(leaving));
        }
        Ok(crews)
    }

    /// What a difference needs beyond being known.
    async fn follow_up(
        &self,
        name: &ServiceName,
        difference: &Difference,
        needs: Needs,
        loss: Loss,
    ) -> Result<Option<Rollout>, EngineError> {
        let crew = self.engine.crew(name)?;
        if *difference == Difference::Added
            && let Some(hold) = self.lack(&crew.service.depends)
        {
            self.run_required(&crew.service.depends);
            self.hold_back(name, &hold);
            return Ok(None);
        }
        match needs {
            Needs::Nothing => Ok(None),
            Needs::Publish => self.begin_boot(name).await,
            Needs::Start | Needs::Gap if is_wanted(&crew) => {
                let request = request(&crew.service, difference, loss)?;
                self.engine.begin(name, request, "a reload".to_owned()).await.map(Some)
            }
            Needs::Start | Needs::Gap => {
                self.engine.dismiss(name);
                Ok(None)
            }
        }
    }

    fn told(&self, change: &Change) -> Vec<ServiceChange> {
        let crews = self.engine.crews();
        let tell = |(name, difference): (&ServiceName, &Difference)| {
            let wanted = crews.get(name).is_some_and(|crew| is_wanted(crew));
            let (keys, action) = match difference {
                Difference::Added => (vec![], ReloadAction::Start),
                Difference::Removed => (vec![], ReloadAction::Stop),
                Difference::Changed(keys) => {
                    let action = match difference.needs() {
                        Needs::Nothing => ReloadAction::Apply,
                        Needs::Publish => ReloadAction::Publish,
                        Needs::Start | Needs::Gap if wanted => ReloadAction::Restart,
                        Needs::Start | Needs::Gap => ReloadAction::NextStart,
                    };
                    (names(keys), action)
                }
            };
            ServiceChange { service: name.to_string(), keys, action }
        };
        let job = |(name, difference): (&ServiceName, &Difference)| {
            let (keys, action) = match difference {
                Difference::Added => (vec![], ReloadAction::JobAdded),
                Difference::Removed => (vec![], ReloadAction::JobRemoved),
                Difference::Changed(keys) => (names(keys), ReloadAction::JobChanged),
            };
            ServiceChange { service: name.to_string(), keys, action }
        };
        let app = |(name, difference): (&AppName, &Difference)| {
            let keys = match difference {
                Difference::Added | Difference::Removed => vec![],
                Difference::Changed(keys) => names(keys),
            };
            ServiceChange { service: format!("apps.{name}"), keys, action: ReloadAction::Apply }
        };
        let Changes { services, jobs, apps, fixed: _ } = &change.between;
        let services = services.iter().map(tell);
        services.chain(jobs.iter().map(job)).chain(apps.iter().map(app)).collect()
    }
}

/// First members of upstreams that nginx does not know: what runs, else the first slot.
fn unpublished(change: &Change, crews: &Crews) -> Upstreams {
    let known = site(&change.old);
    let new = crews.iter().filter(|(name, crew)| {
        crew.standing == Standing::Configured
            && crew.service.upstream.is_some()
            && !known.contains_key(name)
    });
    let first = |(name, crew): (&ServiceName, &Arc<Crew>)| {
        let slots = crew.service.slots.all();
        let up = |slot: &&crate::ident::Slot| {
            crew.instances.get(slot).is_some_and(|instance| instance.view().phase.is_up())
        };
        let slot = slots.iter().find(up).or(slots.first())?;
        Some((name.clone(), Members::from([(slot.port()?, Role::Serving)])))
    };
    new.filter_map(first).collect()
}

/// What the kernel refuses to the instances of `crews`.
fn refusals(crews: &[Arc<Crew>]) -> BTreeSet<(InstanceId, String)> {
    let views = crews.iter().flat_map(|crew| crew.instances.values()).map(Instance::view);
    let refused = |view: View| {
        let refused = view.confined.refused.into_iter();
        refused.map(move |refusal| (view.id.clone(), refusal.to_string())).collect::<Vec<_>>()
    };
    views.flat_map(refused).collect()
}

/// What is needed where the kernel refused something to what runs: a start may get it, if that costs
/// nothing; else it is told.
fn refit(change: &Change, name: &ServiceName, refusal: &str, reloaded: &mut Reloaded) -> Needs {
    let needs = change.between.services.get(name).map_or(Needs::Nothing, Difference::needs);
    let service = change.new.services.get(name);
    let starts_first =
        |service: &Service| matches!(service.slots, Slots::Two { .. }) || service.held().is_some();
    if !service.is_some_and(|service| starts_first(service)) {
        if needs < Needs::Start {
            reloaded.troubles.push(format!("{refusal}; it is asked for again at its next start"));
        }
        return needs;
    }
    for told in reloaded.changes.iter_mut().filter(|told| told.service == name.as_str()) {
        told.action = ReloadAction::Restart;
    }
    needs.max(Needs::Start)
}

fn names(keys: &[Key]) -> Vec<String> {
    keys.iter().map(|key| key.name.to_owned()).collect()
}

fn crews_has(config: &Config, name: &ServiceName) -> bool {
    config.services.contains_key(name)
}

fn is_wanted(crew: &Crew) -> bool {
    crew.instances.values().any(|instance| instance.view().wanted)
}

/// The release stays what it is, unless it is the directory that changed.
fn request(service: &Service, difference: &Difference, loss: Loss) -> Result<Request, EngineError> {
    let current = Release::resolve(service).map_err(|e| EngineError::NoRelease(e.to_string()))?;
    let moved = match difference {
        Difference::Changed(keys) => keys.iter().any(|key| key.name == "directory"),
        Difference::Added | Difference::Removed => false,
    };
    let named = moved.then(|| current.clone());
    Ok(Request { named, loss, ..Request::of(Kind::Reconfigure, current) })
}
