//! The only durable state: one `SQLite` database, on a thread of its own.
//!
//! Writes are durable when they return (WAL, `synchronous=FULL`). One daemon works on a state
//! directory at a time; what cannot be read is refused and kept (`S4`).

mod batch;
mod boots;
mod columns;
mod daemons;
mod deploys;
mod error;
mod events;
mod generations;
mod lock;
mod rollouts;
mod runs;
mod schema;
mod slots;
#[cfg(test)]
mod tests;
mod thread;

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{runtime::Handle, sync::broadcast};

pub use self::{
    boots::Boots,
    daemons::Beginning,
    deploys::DeployRow,
    error::{Holder, StoreError},
    events::Event,
    rollouts::{Documents, RolloutRow},
    runs::{NewRun, RunEnd, RunRow, Whose},
    slots::SlotRow,
};
use self::{
    generations::Generations,
    lock::Lock,
    rollouts::Refused,
    thread::{Place, Thread},
};
use crate::ident::{AppName, Generation, InstanceId, RolloutId, ServiceName};

/// How long an event waits for others, or for work, to be written with. What happens to an instance
/// comes in several, and the disk is of no use to whoever waits for its next start.
const COMPANY: Duration = Duration::from_millis(2);

/// Events a subscriber may lag behind before it misses some (and is told so).
const LAG: usize = 256;

/// The store. Cheap to clone; every call runs on the store's thread, in order.
///
/// When the last clone is dropped, what is queued is written and the database closed; that waits
/// for the disk, at most five seconds.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    thread: Thread,
    generations: Generations,
    told: broadcast::Sender<Event>,
}

/// What has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Rollouts.
    pub rollouts: Vec<RolloutRow>,
    /// Deploys.
    pub deploys: Vec<DeployRow>,
}

/// Reads all of the state in `dir` that a daemon would go on with, beside the daemon that works on it,
/// and gives what has not ended. Changes nothing. A state of an older program has no deploys.
///
/// # Errors
/// What [`Store::open`] would refuse, but for the lock.
pub fn unfinished(dir: &Path) -> Result<Unfinished, StoreError> {
    let path = dir.join("aibk.db");
    let db = schema::look(&path)?;
    let read = || -> rusqlite::Result<Unfinished> {
        slots::all(&db)?;
        let there = db.table_exists(None, "deploys")?;
        let deploys = if there { deploys::last(&db, 0)? } else { vec![] };
        Ok(Unfinished { rollouts: rollouts::last(&db, 0)?, deploys })
    };
    read().map_err(|e| StoreError::sqlite(&path, "read the state", e))
}

impl Store {
    /// Opens `dir/aibk.db`, locks it against a second daemon, and brings it up to date.
    ///
    /// Waits for the disk: call it before there is anything else to do.
    ///
    /// # Errors
    /// A second daemon (named by pid), a newer version, damage: nothing is changed then (`S4`).
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        schema::make_directory(dir)?;
        let lock = Lock::take(dir)?;
        let path = dir.join("aibk.db");
        let db = schema::open(&path)?;
        let generations = Generations::open(&db)
            .map_err(|e| StoreError::sqlite(&path, "reserve generations", e))?;
        let (told, _) = broadcast::channel(LAG);
        let thread = Thread::start(&path, db, lock, told.clone())?;
        Ok(Self { inner: Arc::new(Inner { thread, generations, told }) })
    }

    /// Begins a daemon in the boot `boot` of the host. Where it does not go on with what another one
    /// left, no slot has an identity afterwards, and those that are meant to run and do not come up
    /// ([`Boots::Not`]) rest as `stopped`, the others not at all.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn begin_daemon(&self, boot: &str, stopped: &str) -> Result<Beginning, StoreError> {
        let (boot, stopped) = (boot.to_owned(), stopped.to_owned());
        let begin = move |db: &_| daemons::begin(db, &boot, &stopped);
        self.inner.thread.write("begin a daemon", begin).await
    }

    /// The services that do not come up when a daemon begins afresh.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn disabled(&self) -> Result<BTreeSet<ServiceName>, StoreError> {
        self.inner.thread.read("read what is disabled", boots::disabled).await
    }

    /// Keeps what becomes of `service` when a daemon begins afresh; durable when it returns.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn put_boots(&self, service: &ServiceName, boots: Boots) -> Result<(), StoreError> {
        let service = service.clone();
        let put = move |db: &_| boots::put(db, &service, boots);
        self.inner.thread.write("write what is enabled", put).await
    }

    /// Keeps that this daemon has stopped everything.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn end_daemon(&self, boot: &str) -> Result<(), StoreError> {
        let boot = boot.to_owned();
        self.inner.thread.write("end a daemon", move |db| daemons::end(db, &boot)).await
    }

    /// Every slot ever written.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn slots(&self) -> Result<Vec<SlotRow>, StoreError> {
        self.inner.thread.read("read the slots", slots::all).await
    }

    /// Writes one slot; durable when it returns.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn put_slot(&self, row: SlotRow) -> Result<(), StoreError> {
        self.inner.thread.write("write a slot", move |db| slots::put(db, &row)).await
    }

    /// Forgets a slot that is not configured any more; durable when it returns.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget_slot(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.inner.thread.write("forget a slot", move |db| slots::forget(db, &instance)).await
    }

    /// A generation that was never given out, by any daemon. Taken from a durable reservation
    /// made ahead, so that it waits for no disk.
    ///
    /// # Errors
    /// When a new reservation could not be written.
    pub async fn next_generation(&self) -> Result<Generation, StoreError> {
        self.inner.generations.next(&self.inner.thread).await
    }

    /// A new rollout; its id is given to `document` to write itself.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another of the same service has not ended (`S2`).
    pub async fn begin_rollout(
        &self,
        service: ServiceName,
        document: Box<dyn FnOnce(RolloutId) -> String + Send>,
    ) -> Result<RolloutRow, StoreError> {
        let begun = self
            .inner
            .thread
            .write("begin a rollout", move |db| rollouts::begin(db, service, document))
            .await?;
        begun.map_err(|refused| match refused {
            Refused::Busy(holder) => StoreError::Busy(holder),
            Refused::Missing => StoreError::NoRollout(RolloutId(0)),
        })
    }

    /// A new rollout of each of `services`, parts of `deploy` where one is named; their ids are given to
    /// `documents` to write themselves.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when one of any of them has not ended (`S2`); none has begun then.
    pub async fn begin_rollouts(
        &self,
        services: Vec<ServiceName>,
        deploy: Option<RolloutId>,
        documents: Documents,
    ) -> Result<Vec<RolloutRow>, StoreError> {
        let all =
            move |db: &rusqlite::Connection| rollouts::begin_all(db, &services, deploy, documents);
        let begun = self.inner.thread.write("begin rollouts", all).await?;
        begun.map_err(|refused| match refused {
            Refused::Busy(holder) => StoreError::Busy(holder),
            Refused::Missing => StoreError::NoRollout(RolloutId(0)),
        })
    }

    /// Writes a rollout's document; durable when it returns.
    ///
    /// # Errors
    /// When the database cannot be written, or has no rollout of this id.
    pub async fn put_rollout(&self, row: RolloutRow) -> Result<(), StoreError> {
        let id = row.id;
        let put = self.inner.thread.write("write a rollout", move |db| rollouts::put(db, &row));
        put.await?.map_err(|refused| match refused {
            Refused::Busy(holder) => StoreError::Busy(holder),
            Refused::Missing => StoreError::NoRollout(id),
        })
    }

    /// One rollout.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollout(&self, id: RolloutId) -> Result<Option<RolloutRow>, StoreError> {
        self.inner.thread.read("read a rollout", move |db| rollouts::one(db, id)).await
    }

    /// The last `n` rollouts (newest first), and every one that has not ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollouts(&self, n: usize) -> Result<Vec<RolloutRow>, StoreError> {
        self.inner.thread.read("read the rollouts", move |db| rollouts::last(db, n)).await
    }

    /// The last `n` rollouts of `service` (newest first), of those before `before` where one is named.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollouts_of(
        &self,
        service: &ServiceName,
        before: Option<RolloutId>,
        n: usize,
    ) -> Result<Vec<RolloutRow>, StoreError> {
        let service = service.clone();
        let read = move |db: &_| rollouts::last_of(db, &service, before, n);
        self.inner.thread.read("read the rollouts of a service", read).await
    }

    /// The rollouts that are parts of `deploy`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollouts_of_deploy(
        &self,
        deploy: RolloutId,
    ) -> Result<Vec<RolloutRow>, StoreError> {
        let read = move |db: &_| rollouts::of_deploy(db, deploy);
        self.inner.thread.read("read the rollouts of a deploy", read).await
    }

    /// Keeps `event` and tells every subscriber; never waits. Its id and time are filled in.
    ///
    /// An event that cannot be kept is logged, and told with the id 0.
    pub fn record(&self, mut event: Event) {
        event.at = jiff::Timestamp::now().as_microsecond();
        event.id = 0;
        if self.inner.thread.record(event) == Place::Later {
            return;
        }
        let inner = Arc::downgrade(&self.inner);
        let hand_over = async move {
            tokio::time::sleep(COMPANY).await;
            if let Some(inner) = inner.upgrade() {
                inner.thread.hand_over();
            }
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(hand_over)),
            Err(_) => self.inner.thread.hand_over(),
        }
    }

    /// The newest `n` events with an id above `after`, oldest first. The newest 10,000 are kept.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events(&self, after: u64, n: usize) -> Result<Vec<Event>, StoreError> {
        self.inner.thread.read("read events", move |db| events::after(db, after, n)).await
    }

    /// Every event from now on, once it is durable. To miss none, subscribe first, then read
    /// [`Store::events`], then leave out what has an id already seen.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.inner.told.subscribe()
    }
}

/// Jobs, and what is done for applications.
/// Deploys.
impl Store {
    /// A new deploy; its id is given to `document` to write itself.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another of the same application has not ended.
    pub async fn begin_deploy(
        &self,
        app: AppName,
        document: Box<dyn FnOnce(RolloutId) -> String + Send>,
    ) -> Result<DeployRow, StoreError> {
        let put = move |db: &rusqlite::Connection| deploys::begin(db, app, document);
        let begun = self.inner.thread.write("begin a deploy", put).await?;
        begun.map_err(|deploys::Held(holder)| StoreError::Busy(holder))
    }

    /// Writes a deploy's document; durable when it returns.
    ///
    /// # Errors
    /// When the database cannot be written, or has no deploy of this id.
    pub async fn put_deploy(&self, row: DeployRow) -> Result<(), StoreError> {
        let id = row.id;
        let put = self.inner.thread.write("write a deploy", move |db| deploys::put(db, &row));
        if put.await? == 0 { Err(StoreError::NoRollout(id)) } else { Ok(()) }
    }

    /// One deploy.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deploy(&self, id: RolloutId) -> Result<Option<DeployRow>, StoreError> {
        self.inner.thread.read("read a deploy", move |db| deploys::one(db, id)).await
    }

    /// The last `n` deploys of `app`, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deploys_of(&self, app: &AppName, n: usize) -> Result<Vec<DeployRow>, StoreError> {
        let app = app.clone();
        let last = move |db: &_| deploys::last_of(db, &app, n);
        self.inner.thread.read("read the deploys", last).await
    }

    /// The last `n` deploys (newest first), and every one that has not ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deploys(&self, n: usize) -> Result<Vec<DeployRow>, StoreError> {
        self.inner.thread.read("read the deploys", move |db| deploys::last(db, n)).await
    }
}

/// Jobs.
impl Store {
    /// A new run of a job; what it deals with of the schedule is durable together with it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn begin_run(&self, new: NewRun) -> Result<RunRow, StoreError> {
        self.inner.thread.write("begin a run", move |db| runs::begin(db, new)).await
    }

    /// The run `id` has ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn end_run(&self, id: u64, end: RunEnd) -> Result<(), StoreError> {
        self.inner.thread.write("end a run", move |db| runs::end(db, id, &end)).await
    }

    /// The schedule of `job` has been dealt with up to `moment`.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn deal(&self, job: impl Into<Whose>, moment: Timestamp) -> Result<(), StoreError> {
        let job = job.into();
        self.inner.thread.write("write a schedule", move |db| runs::deal(db, &job, moment)).await
    }

    /// Up to when the schedule of `job` has been dealt with; `None` for a new one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dealt(&self, job: impl Into<Whose>) -> Result<Option<Timestamp>, StoreError> {
        let job = job.into();
        self.inner.thread.read("read a schedule", move |db| runs::dealt(db, &job)).await
    }

    /// One run.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn run(&self, id: u64) -> Result<Option<RunRow>, StoreError> {
        self.inner.thread.read("read a run", move |db| runs::one(db, id)).await
    }

    /// The last `n` runs of `job`, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn runs(&self, job: impl Into<Whose>, n: usize) -> Result<Vec<RunRow>, StoreError> {
        let job = job.into();
        self.inner.thread.read("read the runs", move |db| runs::last(db, &job, n)).await
    }
}
