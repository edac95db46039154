//! One thread writes the log files of all instances, so that a slow disk delays nobody.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    Also, ProcessError, Start,
    files::{Keeping, LogFiles},
    journal::{Gate, Journal, SOCKET},
    log_file::{LogFile, Mark, Span},
    spool::{Spool, Stretch},
};
use crate::{ident::InstanceId, sync_point};

/// What may wait for the disk, of all instances together, in bytes.
const QUEUE_BYTES: usize = 2 * 1024 * 1024;

/// How often it is looked for files that have become too old.
const GROWING_OLD: Duration = Duration::from_secs(3600);

/// The thread of this process, while any capture is open.
static SHARED: Mutex<Weak<Writer>> = Mutex::new(Weak::new());

/// Where lines were taken from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) spool: Arc<Spool>,
    pub(super) stretch: Stretch,
}

/// Lines of one stream, as they stand in the file.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    pub(super) span: Span,
    pub(super) origin: Option<Origin>,
}

enum Job {
    Write(Arc<Log>, Lines),
    /// Lines were dropped after everything that is in the queue before this.
    Note(Arc<Log>),
    Flush(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Writer {
    jobs: mpsc::Sender<Job>,
    queued: Arc<AtomicUsize>,
    /// Whose files grow old.
    logs: Arc<Mutex<Vec<Weak<Log>>>>,
    gate: Arc<Gate>,
}

impl Writer {
    fn shared() -> io::Result<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = shared.upgrade() {
            return Ok(writer);
        }
        let (jobs, queue) = mpsc::channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let (logs, gate) = (Arc::<Mutex<Vec<_>>>::default(), Arc::default());
        let writer =
            Arc::new(Self { jobs, queued: Arc::clone(&queued), logs: Arc::clone(&logs), gate });
        // It ends once the last capture is closed and everything is written.
        std::thread::Builder::new()
            .name("aibk-logs".to_owned())
            .spawn(move || work(&queue, &queued, &logs))?;
        *shared = Arc::downgrade(&writer);
        Ok(writer)
    }
}

fn work(queue: &mpsc::Receiver<Job>, queued: &AtomicUsize, logs: &Mutex<Vec<Weak<Log>>>) {
    let mut due = Instant::now() + GROWING_OLD;
    loop {
        match queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(job) => job.run(queued),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= due {
            due = Instant::now() + GROWING_OLD;
            let now = jiff::Timestamp::now().as_microsecond();
            for log in living(logs) {
                log.file().grow_old(now);
            }
        }
    }
}

/// Those that are still open; the others are forgotten.
fn living(logs: &Mutex<Vec<Weak<Log>>>) -> Vec<Arc<Log>> {
    let mut logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
    let living: Vec<_> = logs.iter().filter_map(Weak::upgrade).collect();
    logs.retain(|log| log.strong_count() > 0);
    living
}

impl Job {
    fn run(self, queued: &AtomicUsize) {
        match self {
            Self::Write(log, lines) => {
                log.write(&lines);
                queued.fetch_sub(lines.bytes.len(), Ordering::Relaxed);
            }
            Self::Note(log) => {
                let dropped = log.dropped().take();
                if let Some(span) = dropped {
                    log.file().note_lost(span);
                }
            }
            Self::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// One instance's place at the writer.
#[derive(Debug)]
pub(super) struct Slot {
    writer: Arc<Writer>,
    log: Arc<Log>,
}

impl Slot {
    /// Goes on after `last`.
    pub(super) fn open(
        name: &InstanceId,
        files: &LogFiles,
        keeping: Keeping,
        last: Mark,
    ) -> Result<Self, ProcessError> {
        let last = (last != Mark::START).then_some(last.at);
        let file = LogFile::new(files.clone(), keeping, last);
        let writer = Writer::shared().map_err(ProcessError::kernel("start the log writer"))?;
        let journal = match keeping.also {
            Also::Nowhere => None,
            Also::Journal => {
                let gate = Arc::clone(&writer.gate);
                Some(Box::new(Journal::new(name.clone(), Path::new(SOCKET), gate)))
            }
        };
        let log = Arc::new(Log {
            dropped: Mutex::default(),
            file: Mutex::new(file),
            journal: Mutex::new(journal),
        });
        writer.logs.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&log));
        Ok(Self { writer, log })
    }

    /// Lines from now on may be of `start`.
    pub(super) fn begin(&self, start: Start) {
        if let Some(journal) = self.log.journal().as_mut() {
            journal.begin(start);
        }
    }

    /// Queues `lines`. Drops and counts them where the queue is full.
    pub(super) fn send(&self, lines: Lines) {
        let log = Arc::clone(&self.log);
        let (size, span) = (lines.bytes.len(), lines.span);
        // Only the one runtime thread adds, so the sum stays below the limit.
        if self.writer.queued.load(Ordering::Relaxed) + size <= QUEUE_BYTES {
            self.writer.queued.fetch_add(size, Ordering::Relaxed);
            let _ = self.writer.jobs.send(Job::Write(log, lines));
            return;
        }
        let mut dropped = self.log.dropped();
        if dropped.is_none() {
            let _ = self.writer.jobs.send(Job::Note(log));
        }
        *dropped = Some(dropped.map_or(span, |before| before.and(span)));
    }

    /// Resolves when everything queued so far is written.
    pub(super) fn flush(&self) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        let _ = self.writer.jobs.send(Job::Flush(done));
        written
    }
}

#[derive(Debug)]
struct Log {
    dropped: Mutex<Option<Span>>,
    file: Mutex<LogFile>,
    journal: Mutex<Option<Box<Journal>>>,
}

impl Log {
    /// Writes lines such that whoever comes after a kill in here finds out how many are in the file.
    /// The journal cannot be asked: it gets them first, and so perhaps twice, but not never.
    fn write(&self, Lines { bytes, span, origin }: &Lines) {
        let trouble = |error: io::Error| tracing::debug!(%error, "a kill may double some lines");
        if let Some(Origin { spool, stretch }) = origin {
            let _ = spool.begin(*stretch, *span).map_err(trouble);
        }
        sync_point!("capture.begun");
        if let Some(journal) = self.journal().as_mut() {
            journal.write(bytes);
        }
        self.file().write(bytes, Some(*span));
        sync_point!("capture.written");
        if let Some(Origin { spool, stretch }) = origin {
            let _ = spool.done(stretch.to).map_err(trouble);
        }
    }

    fn dropped(&self) -> MutexGuard<'_, Option<Span>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Option<Box<Journal>>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> MutexGuard<'_, LogFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
