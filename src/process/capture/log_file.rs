//! One rotated file of JSON lines, written by the writer thread.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    Line, Stream,
    files::{self, Keeping, LogFiles, Packing},
    history, squeeze,
};
use crate::ident::Generation;

/// Where in an instance's output a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: i64,
    pub(super) generation: Generation,
}

impl Mark {
    /// Before the first line of all.
    pub(super) const START: Self = Self { at: 0, generation: Generation(0) };
}

impl From<&Line> for Mark {
    fn from(line: &Line) -> Self {
        Self { at: line.at, generation: line.generation }
    }
}

/// Lines in a row; what is said in place of them when they are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: Mark,
    /// The time of the last one.
    pub(super) last: i64,
    pub(super) lines: u64,
}

impl Span {
    pub(super) fn of(line: &Line) -> Self {
        Self { first: Mark::from(line), last: line.at, lines: 1 }
    }

    /// This one, and `later` ones.
    pub(super) fn and(self, later: Self) -> Self {
        Self { first: self.first, last: later.last, lines: self.lines + later.lines }
    }
}

/// The current file, as far as it is known to be the one that is found under its name.
#[derive(Debug)]
struct Current {
    file: File,
    place: (u64, u64),
    size: u64,
}

#[derive(Debug)]
pub(super) struct LogFile {
    files: LogFiles,
    keeping: Keeping,
    current: Option<Current>,
    /// The time of the last line in the current file.
    last: Option<i64>,
    lost: Option<Span>,
    health: Health,
}

/// Whether trouble was told already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    Bad,
}

impl LogFile {
    /// The last line in the current file, which is made with its first one, was written at `last`.
    pub(super) const fn new(files: LogFiles, keeping: Keeping, last: Option<i64>) -> Self {
        Self { files, keeping, current: None, last, lost: None, health: Health::Good }
    }

    /// Lines were dropped before they came here.
    pub(super) fn note_lost(&mut self, span: Span) {
        self.lose(span);
        self.write(&[], None);
    }

    fn lose(&mut self, span: Span) {
        self.lost = Some(self.lost.map_or(span, |lost| lost.and(span)));
    }

    /// Writes whole lines; what cannot be written is counted, and told in the file once it can.
    pub(super) fn write(&mut self, bytes: &[u8], span: Option<Span>) {
        let written = self.try_write(bytes);
        match written {
            Ok(()) => {
                let lost = self.lost.take().map(|lost| lost.first.at);
                self.last = span.map(|span| span.last).or(lost).or(self.last);
                self.recovered();
                self.close_if_long();
            }
            Err(error) => {
                self.trouble("cannot write a log file; lines are counted until it can", &error);
                self.current = None;
                if let Some(span) = span {
                    self.lose(span);
                }
            }
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // It was not written yet, was removed or renamed by somebody, or failed before.
        let known = self.current.take().filter(|current| current.is_at(self.files.current()));
        let (current, torn) = match known {
            Some(current) => (current, false),
            None => Current::open(self.files.current())?,
        };
        let current = self.current.insert(current);
        if current.size > self.keeping.size.saturating_mul(2) {
            return Err(io::Error::other("it is too long, and cannot be renamed"));
        }
        let lost = self.lost.map(notice).unwrap_or_default();
        if !torn && lost.is_empty() {
            return current.append(bytes);
        }
        let end: &[u8] = if torn { b"\n" } else { b"" };
        current.append(&[end, &lost, bytes].concat())
    }

    fn close_if_long(&mut self) {
        if self.current.as_ref().is_some_and(|current| current.size > self.keeping.size) {
            self.close();
        }
    }

    /// The current file becomes a closed one; what is not kept any more goes.
    fn close(&mut self) {
        let Some(last) = self.last else { return };
        let closed = self.files.closed_name(last);
        match renameat_with(CWD, self.files.current(), CWD, &closed, RenameFlags::NOREPLACE) {
            Ok(()) => self.current = None,
            Err(e) => self.trouble("cannot rename a log file that is long enough", &e.into()),
        }
        self.tidy(last);
    }

    /// Closes what is old at the time `now`, and removes what is too old.
    pub(super) fn grow_old(&mut self, now: i64) {
        let oldest = self.keeping.oldest(now);
        if history::first_time(self.files.current()).is_some_and(|first| first < oldest) {
            self.close();
        }
        self.tidy(now);
    }

    fn tidy(&mut self, now: i64) {
        let closed = self.files.closed();
        let (old, kept) = closed.split_at(files::outdated(&closed, &self.keeping, now));
        for file in old {
            if let Err(e) = files::remove(file) {
                self.trouble("cannot remove an old log file", &e);
            }
        }
        if self.keeping.packing == Packing::Gzip {
            let plain = kept.iter().filter(|file| file.packing == Packing::Plain);
            plain.for_each(|file| squeeze::soon(file.path.clone()));
        }
    }

    fn trouble(&mut self, what: &str, error: &io::Error) {
        if self.health == Health::Good {
            tracing::error!(path = %self.files.current().display(), %error, "{what}");
        }
        self.health = Health::Bad;
    }

    fn recovered(&mut self) {
        if self.health == Health::Bad {
            tracing::info!(path = %self.files.current().display(), "a log file is written again");
        }
        self.health = Health::Good;
    }
}

impl Current {
    /// And whether its last line has no end: a daemon was killed while it wrote it, or the disk was
    /// full.
    fn open(path: &Path) -> io::Result<(Self, bool)> {
        if let Some(dir) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        }
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).create(true).append(true).mode(0o640).open(path)?;
        let seen = file.metadata()?;
        let current = Self { file, place: (seen.dev(), seen.ino()), size: seen.len() };
        let torn = current.is_torn()?;
        Ok((current, torn))
    }

    /// All of it, or nothing where the disk takes only a part.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        if written.is_ok() {
            self.size += bytes.len() as u64;
        } else if self.file.metadata().is_ok_and(|seen| seen.len() > self.size) {
            // Not where somebody has truncated it: that would make it longer.
            self.file.set_len(self.size)?;
        }
        written
    }

    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|seen| (seen.dev(), seen.ino()) == self.place)
    }

    fn is_torn(&self) -> io::Result<bool> {
        if self.size == 0 {
            return Ok(false);
        }
        let mut file = &self.file;
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(last != *b"\n")
    }
}

fn notice(lost: Span) -> Vec<u8> {
    let Span { first: Mark { at, generation }, lines, .. } = lost;
    let text = format!("[aibk: {lines} lines are missing here: the disk was too slow, or full]");
    let line = Line { at, generation, stream: Stream::Stderr, text };
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
