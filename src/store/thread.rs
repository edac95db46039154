//! The thread that owns the database, and the queue of work for it.
//!
//! The daemon runs on one thread and may not wait for a disk, so the disk has a thread of its own.
//! It sleeps in the queue while there is nothing to do. What was queued while it waited for the disk
//! shares the next wait.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{broadcast, oneshot};

use super::{
    batch::{self, Change, Write, caught},
    error::StoreError,
    events::{self, Event},
    lock::Lock,
};

/// How long a caller waits for the disk.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long closing waits for what is still queued.
const CLOSING: Duration = Duration::from_secs(5);
enum Job {
    Read(Box<dyn FnOnce(&Connection) + Send>),
    Change(Change),
}

/// The store's thread. Dropped, it does what is queued and closes the database.
#[derive(Debug)]
pub(super) struct Thread {
    path: PathBuf,
    /// `None` only while it is being dropped.
    jobs: Option<Sender<Job>>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
    id: ThreadId,
    /// Events that are not in the queue yet.
    recent: Mutex<Vec<Event>>,
    told: broadcast::Sender<Event>,
}

/// Among the events that are not in the queue yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    First,
    Later,
}

impl Thread {
    /// Starts it; `lock` is held until the database is closed.
    pub(super) fn start(
        path: &Path,
        db: Connection,
        lock: Lock,
        told: broadcast::Sender<Event>,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let (alive, ended) = mpsc::channel();
        let (place, tell) = (path.to_owned(), told.clone());
        let handle = thread::Builder::new()
            .name("aibk-store".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || {
                serve(db, &place, &queue, &tell);
                drop((lock, alive));
            })
            .map_err(StoreError::Thread)?;
        let id = handle.thread().id();
        let (ended, recent) = (Mutex::new(ended), Mutex::default());
        Ok(Self { path: path.to_owned(), jobs: Some(jobs), ended, id, recent, told })
    }

    /// Runs `work`, which changes nothing, on the thread, after everything that was queued before.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let read = move |db: &Connection| {
            let read = caught(|| work(db));
            let _ = reply.send(read.map_err(|why| why.of(&path, doing)));
        };
        self.queue(Job::Read(Box::new(read))).map_err(|_| StoreError::Closed { doing })?;
        answered(doing, answer).await
    }

    /// Runs `work` on the thread, after everything that was queued before; what it wrote is durable
    /// when this returns.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.post(doing, work, move |result| drop(reply.send(result)))?;
        answered(doing, answer).await
    }

    /// Queues `work`; once what it wrote is durable, its result is given to `then` on the thread.
    pub(super) fn post<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        let write = Write::new(work, move |done| then(done.map_err(|why| why.of(&path, doing))));
        self.queue(Job::Change(Change::Write(write))).map_err(|_| StoreError::Closed { doing })
    }

    /// Keeps `event`, to be told to everybody once it is durable. It is queued before the next work
    /// that is, or by [`Thread::hand_over`], which the first one must be followed by.
    pub(super) fn record(&self, event: Event) -> Place {
        let mut recent = self.recent();
        recent.push(event);
        if recent.len() == 1 { Place::First } else { Place::Later }
    }

    /// Queues the events that are not queued yet.
    pub(super) fn hand_over(&self) {
        // Under the lock, so that they stay in order.
        for event in self.recent().drain(..) {
            let change = Change::Record(Box::new(event));
            if let Err(Job::Change(Change::Record(event))) = self.send(Job::Change(change)) {
                events::lost(&event, &StoreError::Closed { doing: "keep events" });
                drop(self.told.send(*event));
            }
        }
    }

    fn recent(&self) -> MutexGuard<'_, Vec<Event>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self, job: Job) -> Result<(), Job> {
        self.hand_over();
        self.send(job)
    }

    fn send(&self, job: Job) -> Result<(), Job> {
        match &self.jobs {
            Some(jobs) => jobs.send(job).map_err(|mpsc::SendError(job)| job),
            None => Err(job),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.hand_over();
        self.jobs = None;
        if thread::current().id() == self.id {
            return;
        }
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(CLOSING) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!(
                "the store is still being written after {CLOSING:?}; leaving it to its thread"
            );
        }
    }
}

async fn answered<T>(
    doing: &'static str,
    answer: oneshot::Receiver<Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(StoreError::Closed { doing }),
        Err(_) => Err(StoreError::Stalled { doing, after: PATIENCE }),
    }
}

fn serve(mut db: Connection, path: &Path, queue: &Receiver<Job>, told: &broadcast::Sender<Event>) {
    let mut next = queue.recv().ok();
    while let Some(job) = next {
        let mut other = None;
        let more = || match queue.try_recv() {
            Ok(Job::Change(change)) => Some(change),
            met => {
                other = met.ok();
                None
            }
        };
        match job {
            Job::Read(look) => look(&db),
            Job::Change(first) => batch::together(&mut db, (path, told), first, more),
        }
        next = other.or_else(|| queue.recv().ok());
    }
    if let Err((_, e)) = db.close() {
        tracing::error!("cannot close {}: {e}", path.display());
    }
}

#[cfg(test)]
impl Thread {
    /// A handle whose thread is gone.
    pub(super) fn dead(told: broadcast::Sender<Event>) -> Self {
        let (jobs, _) = mpsc::channel();
        let (_, ended) = mpsc::channel();
        let ended = Mutex::new(ended);
        let (path, id, recent) = ("aibk.db".into(), thread::current().id(), Mutex::default());
        Self { path, jobs: Some(jobs), ended, id, recent, told }
    }
}
