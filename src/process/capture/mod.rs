//! The output of one instance, over all its generations and over the daemon's own restarts.
//!
//! Child → FIFO → reader task, through a spool that outlives the daemon → memory ring and followers →
//! writer thread → rotated files (and the journal). The reader never stops: what comes after it drops
//! and counts where it is too slow. Files that are not written any more are compressed by a thread
//! that gives way to the others.

mod fifo;
mod files;
mod follower;
mod history;
mod hub;
mod inlet;
mod journal;
mod json;
mod log_file;
mod reader;
mod spool;
mod squeeze;
mod wanted;
mod writer;

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod history_tests;
#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod spool_tests;
#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests;

use std::{
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::{mpsc, oneshot};

use super::{Line, ProcessError, Shelf, Stream};
use crate::{
    ident::{Generation, InstanceId, ReleaseId, RolloutId},
    mailbox,
};
pub(super) use fifo::path as fifo_path;
pub use files::{Also, Keeping, Packing};
pub use history::History;
pub use wanted::Wanted;

use fifo::Fifo;
use files::LogFiles;
use hub::Hub;
use inlet::Inlet;
use log_file::Mark;

/// What is known of the start that lines belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Its number.
    pub generation: Generation,
    /// What was started.
    pub release: Option<ReleaseId>,
    /// The rollout it was part of.
    pub rollout: Option<RolloutId>,
}

impl From<Generation> for Start {
    fn from(generation: Generation) -> Self {
        Self { generation, release: None, rollout: None }
    }
}

/// The output of one instance, over all its generations.
#[derive(Debug, Clone)]
pub struct Capture {
    shared: Arc<Shared>,
    requests: mailbox::Sender<Request>,
}

/// What the reader is asked; it answers when it is done.
#[derive(Debug)]
enum Request {
    /// To read all that is in the FIFOs.
    Settle(oneshot::Sender<()>),
    /// To look after the names of the FIFOs' spools.
    Rename(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Shared {
    fifos: [Arc<Fifo>; 2],
    files: LogFiles,
    hub: Arc<Mutex<Hub>>,
    /// The time of the last line that an earlier daemon put into the files.
    found: i64,
    /// Whose lines come through these FIFOs now.
    generation: AtomicU64,
    branches: Mutex<Vec<Branch>>,
}

/// A capture that shares the log of another one.
#[derive(Debug)]
struct Branch {
    shared: Weak<Shared>,
    requests: mailbox::WeakSender<Request>,
}

impl Shared {
    fn hub(&self) -> MutexGuard<'_, Hub> {
        // Nothing that is done under the lock leaves it half done.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn branches(&self) -> MutexGuard<'_, Vec<Branch>> {
        self.branches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hub, ready for lines that came through these FIFOs.
    fn hub_for_lines(&self) -> MutexGuard<'_, Hub> {
        let mut hub = self.hub();
        hub.belong_to(Generation(self.generation.load(Relaxed)));
        hub
    }
}

impl Capture {
    /// Opens the FIFOs of `name` (or finds them again, by their names or on `shelf`) and begins to read
    /// them into files in `log_dir`, kept as `keeping` says. Until [`begin`](Self::begin) lines belong
    /// to the generation of the last line in the file. Needs a runtime.
    ///
    /// # Errors
    /// When a FIFO cannot be opened.
    pub fn open(
        name: &InstanceId,
        runtime_dir: &Path,
        log_dir: &Path,
        keeping: Keeping,
        shelf: &Shelf,
    ) -> Result<Self, ProcessError> {
        let [stdout, stderr] = fifos(name, runtime_dir, shelf)?;
        let files = LogFiles::new(log_dir, name);
        let last = files.newest(stdout.since).as_ref().map_or(Mark::START, Mark::from);
        let inlets = [Inlet::open(&stdout, last.at), Inlet::open(&stderr, last.at)];
        let slot = writer::Slot::open(name, &files, keeping, last)?;
        let generation = AtomicU64::new(last.generation.0);
        let hub = Arc::new(Mutex::new(Hub::new(last, slot)));
        let fifos = [stdout, stderr];
        let (found, branches) = (last.at, Mutex::default());
        Ok(Self::read(Shared { fifos, files, hub, found, generation, branches }, inlets))
    }

    /// FIFOs of its own for `name`, whose lines go where the lines of this one go. Needs a runtime.
    ///
    /// # Errors
    /// When a FIFO cannot be opened.
    pub fn branch(
        &self,
        name: &InstanceId,
        runtime_dir: &Path,
        left: &Shelf,
    ) -> Result<Self, ProcessError> {
        let [stdout, stderr] = fifos(name, runtime_dir, left)?;
        let Shared { files, hub, found, .. } = &*self.shared;
        let inlets = [Inlet::open(&stdout, *found), Inlet::open(&stderr, *found)];
        let shared = Shared {
            fifos: [stdout, stderr],
            files: files.clone(),
            hub: Arc::clone(hub),
            found: *found,
            generation: AtomicU64::new(self.shared.generation.load(Relaxed)),
            branches: Mutex::default(),
        };
        let branch = Self::read(shared, inlets);
        let weak = Branch {
            shared: Arc::downgrade(&branch.shared),
            requests: branch.requests.downgrade(),
        };
        self.shared.branches().push(weak);
        Ok(branch)
    }

    fn read(shared: Shared, inlets: [Inlet; 2]) -> Self {
        let shared = Arc::new(shared);
        let (requests, asked) = mailbox::mailbox();
        tokio::spawn(reader::run(Arc::clone(&shared), inlets, asked));
        Self { shared, requests }
    }

    /// Standard output and standard error for a child. Each is a new open file description, because
    /// the child must block where the daemon must not, and is open for reading too, so that the
    /// child is never without a reader (`P4`).
    pub(super) fn ends(&self) -> Result<[OwnedFd; 2], ProcessError> {
        let [stdout, stderr] = &self.shared.fifos;
        Ok([stdout.child_end()?, stderr.child_end()?])
    }

    /// Lines from now on belong to `start`.
    pub fn begin(&self, start: Start) {
        self.shared.generation.store(start.generation.0, Relaxed);
        self.shared.hub().introduce(start);
    }

    /// Reads all that the last generation left in the FIFOs; a last line without its end is taken
    /// as a line.
    pub async fn settle(&self) {
        self.ask(Request::Settle).await;
    }

    /// Somebody may have removed files in the runtime directory: what is taken out of the FIFOs goes
    /// into files that the next daemon finds again. Whether a FIFO, of this one or a branch of it, has
    /// lost its name.
    pub async fn see_to_names(&self) -> bool {
        let mut all = vec![self.clone()];
        self.shared.branches().retain(|branch| {
            let living = branch.shared.upgrade().zip(branch.requests.upgrade());
            let living = living.map(|(shared, requests)| Self { shared, requests });
            let is_there = living.is_some();
            all.extend(living);
            is_there
        });
        let mut nameless = false;
        for capture in all {
            capture.ask(Request::Rename).await;
            nameless |= !capture.shared.fifos.iter().all(|fifo| fifo.has_name());
        }
        nameless
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<()>) -> Request) {
        let (done, wait) = oneshot::channel();
        // Both ends live as long as the reader task, which ends only with the runtime.
        if self.requests.send(request(done)).is_ok() {
            let _ = wait.await;
        }
    }

    /// Waits until every line taken so far is in the file, or counted as dropped. For the daemon's
    /// own end: lines in memory die with it.
    pub async fn flush(&self) {
        let written = self.shared.hub().slot().flush();
        let _ = written.await;
    }

    /// Those of the last `n` lines that are in memory, oldest first: waits for no disk.
    #[must_use]
    pub fn recent(&self, n: usize) -> Vec<Line> {
        self.shared.hub().recent(n, &Wanted::default()).0
    }

    /// The last `n` wanted lines, oldest first; fewer where they are more than 16 MiB.
    pub async fn tail(&self, n: usize, wanted: &Wanted) -> Vec<Line> {
        let (recent, before) = self.shared.hub().recent(n, wanted);
        self.with_older(n, wanted, recent, before).await
    }

    /// As [`tail`](Self::tail), and every line after them, wanted or not, none twice and none left
    /// out (a reader that is too slow sees a line that says how many it missed).
    pub async fn follow(&self, n: usize, wanted: &Wanted) -> (Vec<Line>, mpsc::Receiver<Line>) {
        let (recent, before, lines) = {
            // Under one lock, so that no line falls between the two.
            let mut hub = self.shared.hub();
            let (recent, before) = hub.recent(n, wanted);
            (recent, before, hub.follow())
        };
        (self.with_older(n, wanted, recent, before).await, lines)
    }

    /// All wanted lines there are now, oldest first, to be taken on a thread that may wait for the
    /// disk.
    pub async fn history(&self, wanted: &Wanted) -> History {
        self.flush().await;
        // Those that did not get into a file are in memory.
        let (recent, _) = self.shared.hub().recent(usize::MAX, wanted);
        History::new(self.shared.files.all(wanted), recent)
    }

    /// Puts lines of the files, all older than `before`, in front of `recent` until there are `n`.
    async fn with_older(
        &self,
        n: usize,
        wanted: &Wanted,
        recent: Vec<Line>,
        before: i64,
    ) -> Vec<Line> {
        let missing = n.saturating_sub(recent.len());
        if missing == 0 || wanted.begins_at(before) {
            return recent;
        }
        self.flush().await;
        let (files, wanted) = (self.shared.files.clone(), wanted.clone());
        let older = tokio::task::spawn_blocking(move || files.last(missing, &wanted, before));
        let mut lines = older.await.unwrap_or_default();
        lines.extend(recent);
        lines
    }
}

fn fifos(
    name: &InstanceId,
    runtime_dir: &Path,
    shelf: &Shelf,
) -> Result<[Arc<Fifo>; 2], ProcessError> {
    let make = |stream| Fifo::make(fifo::path(runtime_dir, name, stream), shelf).map(Arc::new);
    Ok([make(Stream::Stdout)?, make(Stream::Stderr)?])
}
