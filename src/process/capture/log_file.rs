//! One rotated file of JSON lines, written by the writer thread.

use std::{
    fmt, fs,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use file_rotate::{ContentLimit, FileRotate, compression::Compression, suffix::AppendCount};

use super::{Line, Stream, files::ROTATED};
use crate::ident::Generation;

/// A file is rotated once it is longer than this, in bytes.
const FILE_BYTES: usize = 10 * 1024 * 1024;

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
    pub(super) lines: u64,
}

impl Span {
    /// This one, and `later` ones.
    pub(super) fn and(self, later: Self) -> Self {
        Self { first: self.first, lines: self.lines + later.lines }
    }
}

pub(super) struct LogFile {
    path: PathBuf,
    rotate: Option<FileRotate<AppendCount>>,
    lost: Option<Span>,
    torn: bool,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        }
        // FileRotate does not tell when it cannot open a file.
        let torn = is_torn(&options().open(path)?)?;
        let rotate = Some(rotate(path));
        Ok(Self { path: path.to_owned(), rotate, lost: None, torn })
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
        let mut whole = Vec::new();
        if self.torn {
            whole.push(b'\n');
        }
        whole.extend(self.lost.map(notice).unwrap_or_default());
        whole.extend_from_slice(bytes);
        // FileRotate asserts what a full disk can make false.
        let written = catch_unwind(AssertUnwindSafe(|| self.try_write(&whole)));
        if let Ok(Ok(())) = written {
            self.lost = None;
            self.torn = false;
            return;
        }
        if self.rotate.take().is_some() {
            let reason = written.map_or_else(|_| None, Result::err);
            tracing::error!(path = %self.path.display(), ?reason, "cannot write a log file");
        }
        self.torn = true;
        if let Some(span) = span {
            self.lose(span);
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // It was removed, or failed before.
        if self.rotate.is_none() || !self.path.exists() {
            options().open(&self.path)?;
            self.rotate = Some(rotate(&self.path));
        }
        self.rotate.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFile").field("path", &self.path).finish_non_exhaustive()
    }
}

fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).create(true).append(true).mode(0o640);
    options
}

fn rotate(path: &Path) -> FileRotate<AppendCount> {
    let limit = ContentLimit::BytesSurpassed(FILE_BYTES);
    FileRotate::new(path, AppendCount::new(ROTATED), limit, Compression::None, Some(options()))
}

/// Whether the last line has no end: a daemon was killed while it wrote it.
fn is_torn(mut file: &fs::File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn notice(lost: Span) -> Vec<u8> {
    let Span { first: Mark { at, generation }, lines } = lost;
    let text = format!("[aibk: {lines} lines are missing here: the disk was too slow, or full]");
    let line = Line { at, generation, stream: Stream::Stderr, text };
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
