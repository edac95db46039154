//! The output of one instance, over all its generations and over the daemon's own restarts.
//!
//! Child → FIFO → reader task → memory ring and followers → writer thread → rotated files. The
//! reader never stops: what comes after it drops and counts where it is too slow.

mod fifo;
mod files;
mod follower;
mod hub;
mod log_file;
mod reader;
mod writer;

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests;

use std::{
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, oneshot};

use super::{Line, ProcessError, Stream};
use crate::ident::{Generation, InstanceId};
use fifo::Fifo;
use files::LogFiles;
use hub::Hub;
use log_file::Mark;

/// The output of one instance, over all its generations.
#[derive(Debug, Clone)]
pub struct Capture {
    shared: Arc<Shared>,
    settle: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Shared {
    fifos: [Fifo; 2],
    files: LogFiles,
    hub: Mutex<Hub>,
}

impl Shared {
    fn hub(&self) -> MutexGuard<'_, Hub> {
        // Nothing that is done under the lock leaves it half done.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capture {
    /// Opens (or finds again) the FIFOs of `name` and begins to read them. Until
    /// [`begin`](Self::begin) lines belong to the generation of the last line in the file. Needs a
    /// runtime.
    ///
    /// # Errors
    /// When a FIFO or the log file cannot be opened.
    pub fn open(
        name: &InstanceId,
        runtime_dir: &Path,
        log_dir: &Path,
    ) -> Result<Self, ProcessError> {
        let dir = runtime_dir.join("fifo");
        let stdout = Fifo::make(&dir, &format!("{name}.out"))?;
        let stderr = Fifo::make(&dir, &format!("{name}.err"))?;
        let readers = [stdout.reader()?, stderr.reader()?];
        let files = LogFiles::new(log_dir, name);
        let last = files.last(1, i64::MAX).last().map_or(Mark::START, Mark::from);
        let slot = writer::Slot::open(&files)?;
        let hub = Mutex::new(Hub::new(last, slot));
        let shared = Arc::new(Shared { fifos: [stdout, stderr], files, hub });
        let (settle, requests) = mpsc::unbounded_channel();
        tokio::spawn(reader::run(Arc::clone(&shared), readers, requests));
        Ok(Self { shared, settle })
    }

    /// Standard output and standard error for a child. Each is a new open file description, because
    /// the child must block where the daemon must not, and is open for reading too, so that the
    /// child is never without a reader (`P4`).
    pub(super) fn ends(&self) -> Result<[OwnedFd; 2], ProcessError> {
        let [stdout, stderr] = &self.shared.fifos;
        Ok([stdout.child_end()?, stderr.child_end()?])
    }

    /// Lines from now on belong to `generation`.
    pub fn begin(&self, generation: Generation) {
        self.shared.hub().begin(generation);
    }

    /// Reads all that the last generation left in the FIFOs; a last line without its end is taken
    /// as a line.
    pub async fn settle(&self) {
        let (done, wait) = oneshot::channel();
        // Both ends live as long as the reader task, which ends only with the runtime.
        if self.settle.send(done).is_ok() {
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
        self.shared.hub().recent(n).0
    }

    /// The last `n` lines, oldest first.
    pub async fn tail(&self, n: usize) -> Vec<Line> {
        let (recent, before) = self.shared.hub().recent(n);
        self.with_older(n, recent, before).await
    }

    /// The last `n` lines, and every line after them, none twice and none left out
    /// (a reader that is too slow sees a line that says how many it missed).
    pub async fn follow(&self, n: usize) -> (Vec<Line>, mpsc::Receiver<Line>) {
        let (recent, before, lines) = {
            // Under one lock, so that no line falls between the two.
            let mut hub = self.shared.hub();
            let (recent, before) = hub.recent(n);
            (recent, before, hub.follow())
        };
        (self.with_older(n, recent, before).await, lines)
    }

    /// Puts lines of the files, all older than `before`, in front of `recent` until there are `n`.
    async fn with_older(&self, n: usize, recent: Vec<Line>, before: i64) -> Vec<Line> {
        let missing = n.saturating_sub(recent.len());
        if missing == 0 {
            return recent;
        }
        self.flush().await;
        let files = self.shared.files.clone();
        let older = tokio::task::spawn_blocking(move || files.last(missing, before));
        let mut lines = older.await.unwrap_or_default();
        lines.extend(recent);
        lines
    }
}
