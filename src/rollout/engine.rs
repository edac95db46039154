//! The engine: knows the rollouts under way, one per service, and lets them rest and go on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    EngineError,
    drive::Drive,
    effects::Crew,
    part::PartOf,
    record::{Rollout, now},
    words,
};
use crate::{
    ident::{InstanceId, RolloutId, ServiceName},
    store::{self, RolloutRow, Store, StoreError},
};

/// How long an effect may take to end when the daemon does.
const REST: Duration = Duration::from_secs(45);

/// Every service, with its instances.
pub type Crews = BTreeMap<ServiceName, Arc<Crew>>;

/// Runs rollouts, one per service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    /// Replaced as a whole when the configuration changes.
    crews: Mutex<Arc<Crews>>,
    going: Mutex<BTreeMap<ServiceName, Going>>,
    /// The daemon is ending: nothing begins, and what is under way comes to rest.
    frozen: watch::Sender<bool>,
    /// Shared by those who begin a rollout; held alone by whoever wants none to begin.
    beginning: tokio::sync::RwLock<()>,
    /// One rollout of a service begins at a time, so that what it is drafted upon stays true until
    /// it holds its service.
    turns: Mutex<BTreeMap<ServiceName, Turn>>,
}

pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

/// While it is held, no rollout begins.
#[derive(Debug)]
pub struct Hold<'a> {
    engine: &'a Engine,
    _alone: tokio::sync::RwLockWriteGuard<'a, ()>,
}

/// A rollout under way.
#[derive(Debug, Clone)]
struct Going {
    rollout: watch::Receiver<Rollout>,
    cancel: watch::Sender<Option<String>>,
    promote: watch::Sender<Option<String>>,
}

impl Engine {
    /// An engine for `crews`.
    #[must_use]
    pub fn new(store: Store, crews: Crews) -> Self {
        let shared = Shared {
            store,
            crews: Mutex::new(Arc::new(crews)),
            going: Mutex::default(),
            frozen: watch::Sender::new(false),
            beginning: tokio::sync::RwLock::default(),
            turns: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Every service as it is configured now, with its instances.
    #[must_use]
    pub fn crews(&self) -> Arc<Crews> {
        Arc::clone(&self.shared.crews.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The service's instances and nginx.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn crew(&self, service: &ServiceName) -> Result<Arc<Crew>, EngineError> {
        let crew = self.crews().get(service).cloned();
        crew.ok_or_else(|| EngineError::NoService(service.clone()))
    }

    /// Lets no rollout begin until the answer is dropped.
    ///
    /// # Errors
    /// When the daemon is ending.
    pub async fn hold(&self) -> Result<Hold<'_>, EngineError> {
        let alone = self.shared.beginning.write().await;
        self.is_open()?;
        Ok(Hold { engine: self, _alone: alone })
    }

    pub(super) fn is_open(&self) -> Result<(), EngineError> {
        if *self.shared.frozen.borrow() { Err(EngineError::Ending) } else { Ok(()) }
    }

    /// While it is kept, nobody holds the engine.
    pub(super) async fn beginning(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.shared.beginning.read().await
    }

    pub(super) fn turn(&self, service: &ServiceName) -> Turn {
        let mut turns = self.shared.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(service.clone()).or_default())
    }

    /// Goes on with every rollout that has not ended. Returns what was said of those that this
    /// version does not understand; they stay as they are (`S4`).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn resume(&self) -> Result<Vec<EngineError>, EngineError> {
        let mut unreadable = vec![];
        for row in self.shared.store.rollouts(0).await? {
            match Rollout::read(&row) {
                Ok(rollout) => self.go_on(rollout),
                Err(e) => unreadable.push(e),
            }
        }
        Ok(unreadable)
    }

    pub(super) fn go_on(&self, rollout: Rollout) {
        if self.crews().contains_key(&rollout.service) {
            let message = format!("{} goes on", words::name(&rollout));
            self.record(&rollout, "rollout.resumed", message);
            self.drive(rollout);
        }
    }

    /// A rollout that the store knows and nobody drives (its beginning was told as failed, and was
    /// written all the same) is driven on; whoever met it is told that the service is held.
    pub(super) async fn take_up(&self, service: &ServiceName, orphan: RolloutId) -> EngineError {
        match self.find(orphan).await {
            Ok(rollout) => {
                let held = words::holder(&rollout, now());
                self.go_on(rollout);
                EngineError::Busy(held)
            }
            Err(e) => EngineError::Busy(format!("{service} is held: {e}")),
        }
    }

    /// Lets every rollout come to rest where it is, for the next daemon to go on with: waits are
    /// left, effects are finished. Nothing begins any more.
    pub async fn freeze(&self) {
        self.shared.frozen.send_replace(true);
        let resting = async {
            loop {
                let next = self.going().values().next().map(|going| going.rollout.clone());
                let Some(mut going) = next else { return };
                // Its sender is dropped when it rests.
                while going.changed().await.is_ok() {}
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(REST, resting).await.is_err() {
            tracing::warn!("a rollout did not come to rest within {REST:?}");
        }
    }

    pub(super) fn frozen(&self) -> watch::Receiver<bool> {
        self.shared.frozen.subscribe()
    }

    /// The rollout of `service` that is under way.
    #[must_use]
    pub fn under_way(&self, service: &ServiceName) -> Option<Rollout> {
        self.going().get(service).map(|going| going.rollout.borrow().clone())
    }

    /// A rollout under way, and its every change; `None` when it has ended.
    #[must_use]
    pub fn watch(&self, id: RolloutId) -> Option<watch::Receiver<Rollout>> {
        let going = self.going();
        going
            .values()
            .map(|going| &going.rollout)
            .find(|rollout| rollout.borrow().id == id)
            .cloned()
    }

    /// As [`Engine::watch`], where its service is known.
    #[must_use]
    pub fn watch_of(
        &self,
        service: &ServiceName,
        id: RolloutId,
    ) -> Option<watch::Receiver<Rollout>> {
        let going = self.going().get(service).map(|going| going.rollout.clone());
        going.filter(|rollout| rollout.borrow().id == id)
    }

    /// A rollout, ended or not.
    ///
    /// # Errors
    /// When there is none of this id, or it cannot be read.
    pub async fn find(&self, id: RolloutId) -> Result<Rollout, EngineError> {
        if let Some(rollout) = self.watch(id) {
            return Ok(rollout.borrow().clone());
        }
        let row = self.shared.store.rollout(id).await?.ok_or(EngineError::NoRollout(id))?;
        Rollout::read(&row)
    }

    /// The last `n` rollouts, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last(&self, n: usize) -> Result<Vec<Rollout>, EngineError> {
        let rows = self.shared.store.rollouts(n).await?;
        // One that cannot be read was told of when the daemon came up.
        Ok(rows.iter().filter_map(|row| Rollout::read(row).ok()).collect())
    }

    /// As the store has them: the last `n` rollouts of `service`, of those before `before` where one
    /// is named.
    pub(super) async fn rows_of(
        &self,
        service: &ServiceName,
        before: Option<RolloutId>,
        n: usize,
    ) -> Result<Vec<RolloutRow>, StoreError> {
        self.shared.store.rollouts_of(service, before, n).await
    }

    /// Who asks the rollout of `service` that is under way to turn back.
    pub(super) fn ask_back(&self, service: &ServiceName, why: String) {
        if let Some(going) = self.going().get(service) {
            going.cancel.send_replace(Some(why));
        }
    }

    pub(super) fn drive(&self, rollout: Rollout) {
        let (told, seen) = watch::channel(rollout.clone());
        let (cancel, cancelled) = watch::channel(None);
        let (promote, promoted) = watch::channel(None);
        let service = rollout.service.clone();
        self.going().insert(service.clone(), Going { rollout: seen, cancel, promote });
        let engine = self.clone();
        tokio::spawn(async move {
            let (frozen, announce) = (engine.frozen(), told.clone());
            let drive =
                Drive { engine: engine.clone(), rollout, told, cancelled, promoted, frozen };
            let rollout = drive.run().await;
            engine.going().remove(&service);
            engine.dismiss(&service);
            // Whoever sees its end finds the service free.
            announce.send_replace(rollout.clone());
            engine.retire_later(&rollout);
        });
    }

    pub(super) fn tell_promoted(&self, service: &ServiceName, by: &str) {
        if let Some(going) = self.going().get(service) {
            going.promote.send_replace(Some(by.to_owned()));
        }
    }

    fn going(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, Going>> {
        self.shared.going.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `rollout` durable.
    pub(super) async fn keep(&self, rollout: &Rollout) -> Result<(), StoreError> {
        self.shared.store.put_rollout(rollout.row()).await
    }

    /// Makes the intent of a rollout of `service` durable, as `write` has it for its id.
    pub(super) async fn keep_begun(
        &self,
        service: &ServiceName,
        write: impl FnOnce(RolloutId) -> String + Send + 'static,
    ) -> Result<RolloutRow, StoreError> {
        self.shared.store.begin_rollout(service.clone(), Box::new(write)).await
    }

    /// Those that are parts of `deploy`, oldest first.
    pub(super) async fn kept_of(&self, deploy: RolloutId) -> Result<Vec<RolloutRow>, StoreError> {
        self.shared.store.rollouts_of_deploy(deploy).await
    }

    /// As [`Engine::keep_begun`], for one rollout of each of `services`: all, or none.
    pub(super) async fn keep_begun_together(
        &self,
        services: Vec<ServiceName>,
        part_of: Option<PartOf>,
        write: impl FnOnce(&[RolloutId]) -> Vec<String> + Send + 'static,
    ) -> Result<Vec<RolloutRow>, StoreError> {
        let deploy = part_of.map(|part| part.deploy);
        self.shared.store.begin_rollouts(services, deploy, Box::new(write)).await
    }

    pub(super) fn change(&self, how: impl FnOnce(&mut Crews)) {
        let mut held = self.shared.crews.lock().unwrap_or_else(PoisonError::into_inner);
        let mut crews = (**held).clone();
        how(&mut crews);
        *held = Arc::new(crews);
    }

    pub(super) fn forget(&self, gone: Vec<InstanceId>) {
        let store = self.shared.store.clone();
        tokio::spawn(async move {
            for instance in gone {
                // Its row is of a process that has ended; the next daemon sees that, too.
                if let Err(e) = store.forget_slot(instance).await {
                    tracing::warn!("{e}");
                }
            }
        });
    }

    /// What happens from now on.
    pub(super) fn events(&self) -> tokio::sync::broadcast::Receiver<store::Event> {
        self.shared.store.subscribe()
    }

    pub(super) fn record(&self, rollout: &Rollout, kind: &str, message: String) {
        self.shared.store.record(store::Event {
            kind: kind.to_owned(),
            service: Some(rollout.service.to_string()),
            rollout: Some(rollout.id.0),
            message,
            ..store::Event::default()
        });
    }
}

impl Hold<'_> {
    /// Refuses when a rollout of one of `services` is under way: it goes on with the crew it has.
    ///
    /// # Errors
    /// [`EngineError::Busy`] names it.
    pub fn is_free<'s>(
        &self,
        services: impl IntoIterator<Item = &'s ServiceName>,
    ) -> Result<(), EngineError> {
        let holder = services.into_iter().find_map(|service| self.engine.under_way(service));
        match holder {
            Some(holder) => Err(EngineError::Busy(words::holder(&holder, now()))),
            None => Ok(()),
        }
    }

    /// From now on these are the services.
    pub fn replace(&self, crews: Crews) {
        self.engine.change(|held| *held = crews);
    }
}
