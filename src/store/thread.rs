//! The thread that owns the database, and the queue of work for it.
//!
//! The daemon runs on one thread and may not wait for a disk, so the disk has a thread of its own.
//! It sleeps in the queue while there is nothing to do.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{broadcast, oneshot};

use super::{
    error::StoreError,
    events::{self, Event},
    lock::Lock,
};

/// How long a caller waits for the disk.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long closing waits for what is still queued.
const CLOSING: Duration = Duration::from_secs(5);
/// Events that share a transaction at most.
const BATCH: usize = 64;

enum Job {
    Run(Box<dyn FnOnce(&mut Connection) + Send>),
    Record(Box<Event>),
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
        let place = path.to_owned();
        let handle = thread::Builder::new()
            .name("aibk-store".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || {
                serve(db, &place, &queue, &told);
                drop((lock, alive));
            })
            .map_err(StoreError::Thread)?;
        let id = handle.thread().id();
        Ok(Self { path: path.to_owned(), jobs: Some(jobs), ended: Mutex::new(ended), id })
    }

    /// Runs `work` on the thread, after everything that was queued before.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.post(doing, work, move |result| drop(reply.send(result)))?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StoreError::Closed { doing }),
            Err(_) => Err(StoreError::Stalled { doing, after: PATIENCE }),
        }
    }

    /// Queues `work`; its result is given to `then` on the thread.
    pub(super) fn post<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.queue(Job::Run(Box::new(move |db| {
            let result = match catch_unwind(AssertUnwindSafe(|| work(db))) {
                Ok(done) => done.map_err(|e| StoreError::sqlite(path, doing, e)),
                Err(_) => Err(StoreError::Panicked { doing }),
            };
            then(result);
        })))
        .map_err(|_| StoreError::Closed { doing })
    }

    /// Queues `event`; gives it back when the thread has ended.
    pub(super) fn record(&self, event: Box<Event>) -> Result<(), Box<Event>> {
        match self.queue(Job::Record(event)) {
            Err(Job::Record(event)) => Err(event),
            _ => Ok(()),
        }
    }

    fn queue(&self, job: Job) -> Result<(), Job> {
        match &self.jobs {
            Some(jobs) => jobs.send(job).map_err(|mpsc::SendError(job)| job),
            None => Err(job),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
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

fn serve(mut db: Connection, path: &Path, queue: &Receiver<Job>, told: &broadcast::Sender<Event>) {
    let mut next = queue.recv().ok();
    while let Some(job) = next {
        next = match job {
            Job::Run(work) => {
                work(&mut db);
                None
            }
            Job::Record(event) => {
                let (batch, after) = gather(*event, queue);
                events::keep(&mut db, path, batch, told);
                after
            }
        }
        .or_else(|| queue.recv().ok());
    }
    if let Err((_, e)) = db.close() {
        tracing::error!("cannot close {}: {e}", path.display());
    }
}

/// `first` and the events queued right behind it, and the other work met then.
fn gather(first: Event, queue: &Receiver<Job>) -> (Vec<Event>, Option<Job>) {
    let mut batch = vec![first];
    while batch.len() < BATCH {
        match queue.try_recv() {
            Ok(Job::Record(event)) => batch.push(*event),
            Ok(other) => return (batch, Some(other)),
            Err(_) => break,
        }
    }
    (batch, None)
}

#[cfg(test)]
impl Thread {
    /// A handle whose thread is gone.
    pub(super) fn dead() -> Self {
        let (jobs, _) = mpsc::channel();
        let (_, ended) = mpsc::channel();
        let ended = Mutex::new(ended);
        Self { path: "aibk.db".into(), jobs: Some(jobs), ended, id: thread::current().id() }
    }
}
