//! What was taken out of one FIFO and may not be in the log file yet.
//!
//! read(2) takes bytes out of a pipe into a process, which may be killed before it has written them.
//! splice(2) moves them into a file, in one system call: at whatever instruction we are killed, a
//! byte is in the pipe or in the file, and what the call has moved is the file's size. So the file
//! only grows, a byte's offset in it is its name for good, and what is done with is given back by
//! punching holes (fallocate(2)).
//!
//! Its first page says how far the lines are in the log, in two steps: before they are written,
//! which bytes they were and what times they will have; and that they were. Whoever comes after a
//! kill between the two finds in the log itself which of them got there: times only grow.
//!
//! It outlives the daemon, not the host: of another boot, or in a shape that makes no sense, it
//! begins anew.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    pipe::{SpliceFlags, splice},
};

use super::log_file::Span;
use crate::sys::proc;

/// The offset of the first byte.
const HEAD: u64 = 4096;
/// Where in the first page the reader says what it gave up; the rest is the log writer's.
const FLOOR: u64 = 64;
/// What is done with is given back in pieces of at least so many bytes.
const PIECE: u64 = 16 * 1024;
/// Bytes that are kept for a log that is too slow; its queue is shorter.
const ROOM: u64 = 4 * 1024 * 1024;
/// Read at once, where lines are counted.
const BLOCK: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    /// Everything before this was given back.
    freed: AtomicU64,
}

/// Bytes that made whole lines: from one offset to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Lines on their way into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Batch {
    stretch: Stretch,
    /// The time of the first line; each other is a microsecond later than the one before.
    first: i64,
    /// None: they are in the log.
    lines: u64,
}

/// Where an earlier daemon was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The first byte that is not in the log.
    pub(super) next: u64,
    /// What was ever taken.
    pub(super) size: u64,
    /// Bytes before `next` that are neither in the log nor here.
    pub(super) missing: u64,
}

impl Spool {
    /// Opens the spool at `path`, which an earlier daemon has left; `None` where there is none.
    pub(super) fn find(path: &Path) -> io::Result<Option<Self>> {
        match Self::at(path, OpenOptions::new().read(true).write(true)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            spool => spool.map(Some),
        }
    }

    /// Opens it, or makes it.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        Self::at(path, OpenOptions::new().read(true).write(true).create(true))
    }

    fn at(path: &Path, how: &mut OpenOptions) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = how.mode(0o600).custom_flags(flags).open(path)?;
        let mut spool = Self { file, freed: AtomicU64::new(HEAD) };
        if let Some(batch) = spool.head()? {
            spool.freed = AtomicU64::new(batch.stretch.from);
        } else {
            spool.file.set_len(0)?;
            spool.file.set_len(HEAD)?;
            // Where there can be no holes, it would only grow.
            spool.punch(HEAD, PIECE)?;
            spool.done(HEAD)?;
        }
        Ok(spool)
    }

    /// The log writer's words; `None` where they make no sense, or are of another boot.
    fn head(&self) -> io::Result<Option<Batch>> {
        let size = self.size()?;
        if size < HEAD {
            return Ok(None);
        }
        let [boot, from, to, first, lines] = self.words(0)?;
        let stretch = Stretch { from, to };
        let sound = boot == this_boot()? && HEAD <= from && from <= to && to <= size;
        Ok(sound.then_some(Batch { stretch, first: first.cast_signed(), lines }))
    }

    fn words<const N: usize>(&self, at: u64) -> io::Result<[u64; N]> {
        let mut words = [[0; 8]; N];
        self.file.read_exact_at(words.as_flattened_mut(), at)?;
        Ok(words.map(u64::from_le_bytes))
    }

    /// In one write(2) within a page, which a kill does not cut.
    fn say(&self, batch: Batch) -> io::Result<()> {
        let Batch { stretch: Stretch { from, to }, first, lines } = batch;
        let words = [this_boot()?, from, to, first.cast_unsigned(), lines];
        self.file.write_all_at(words.map(u64::to_le_bytes).as_flattened(), 0)
    }

    /// Whether `path` names it.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let place = |seen: std::fs::Metadata| (seen.dev(), seen.ino());
        let named = std::fs::symlink_metadata(path).map(place);
        matches!((named, self.file.metadata().map(place)), (Ok(named), Ok(own)) if named == own)
    }

    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Where to go on. `last` is the time of the last line in the log; nothing may be written there
    /// before this was asked.
    pub(super) fn found(&self, last: i64) -> io::Result<Found> {
        let size = self.size()?;
        let Some(Batch { stretch: Stretch { from, to }, first, lines }) = self.head()? else {
            return Ok(Found { next: size, size, missing: 0 });
        };
        let [floor] = self.words(FLOOR)?;
        let written = u64::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(0);
        let next = if written >= lines {
            to
        } else if from < floor {
            from
        } else {
            self.after(from, written)?.min(to)
        };
        let there = next.max(floor.min(size));
        self.done(there)?;
        Ok(Found { next: there, size, missing: there - next })
    }

    /// The offset behind so many lines that begin at `from`.
    fn after(&self, from: u64, lines: u64) -> io::Result<u64> {
        let (mut at, mut left) = (from, usize::try_from(lines).unwrap_or(usize::MAX));
        let mut block = vec![0; BLOCK];
        while left > 0 {
            let n = self.read(&mut block, at)?;
            let ends = || {
                let bytes = block.iter().take(n).zip(1..);
                bytes.filter(|(byte, _)| **byte == b'\n').map(|(_, behind)| behind)
            };
            if let Some(behind) = ends().nth(left - 1) {
                return Ok(at + behind);
            }
            if n == 0 {
                break;
            }
            left -= ends().count();
            at += n as u64;
        }
        Ok(at)
    }

    /// Takes at most `n` bytes out of `fifo` and puts them at the end, which is at `size`.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there. Any other: nothing was taken.
    pub(super) fn fill(&self, fifo: impl AsFd, size: u64, n: usize) -> io::Result<usize> {
        let mut end = size;
        Ok(splice(fifo, None, &self.file, Some(&mut end), n, SpliceFlags::NONBLOCK)?)
    }

    pub(super) fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    /// The lines of `span`, which were `stretch`, are about to be written.
    pub(super) fn begin(&self, stretch: Stretch, span: Span) -> io::Result<()> {
        self.say(Batch { stretch, first: span.first.at, lines: span.lines })
    }

    /// All before `to` is in the log, or was counted as lost.
    pub(super) fn done(&self, to: u64) -> io::Result<()> {
        self.say(Batch { stretch: Stretch { from: to, to }, first: 0, lines: 0 })?;
        self.free(to, PIECE)
    }

    /// Gives up what the log was too slow for, if that is more than there is room for. The reader is
    /// at `at`.
    pub(super) fn bound(&self, at: u64) -> io::Result<()> {
        if at.saturating_sub(self.freed.load(Relaxed)) <= ROOM {
            return Ok(());
        }
        self.file.write_all_at(&at.to_le_bytes(), FLOOR)?;
        self.free(at, 0)
    }

    fn free(&self, to: u64, least: u64) -> io::Result<()> {
        let from = self.freed.load(Relaxed);
        if to <= from || to - from < least {
            return Ok(());
        }
        self.punch(from, to - from)?;
        self.freed.fetch_max(to, Relaxed);
        Ok(())
    }

    fn punch(&self, at: u64, length: u64) -> io::Result<()> {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, how, at, length)?)
    }
}

/// This boot of the host, in a word: the first half of its random id (random(4)).
fn this_boot() -> io::Result<u64> {
    static BOOT: OnceLock<u64> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(*boot);
    }
    let id = proc::boot_id()?;
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let boot = u64::from_str_radix(&digits, 16).map_err(io::Error::other)?;
    Ok(*BOOT.get_or_init(|| boot))
}
