//! The log itself: a place in it, and what was written since, over rotations by others.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::line::Logged;

/// Far more than a line of ours has.
const LONGEST_LINE: u64 = 64 * 1024;

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    device: u64,
    inode: u64,
    offset: u64,
}

/// Why what was written since a place cannot be read whole.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The file is gone, or was rotated and compressed.
    #[error("{} was removed, or rotated away, meanwhile", .0.display())]
    Gone(PathBuf),
    /// It is shorter than it was.
    #[error("{} was emptied meanwhile", .0.display())]
    Emptied(PathBuf),
    /// Some lines are not whole: a full disk cuts them.
    #[error("{lines} lines of {} are not whole; was its disk full?", path.display())]
    Cut {
        /// The log.
        path: PathBuf,
        /// How many.
        lines: u64,
    },
    /// nginx leaves out lines while the disk is full.
    #[error("the disk of {} is full", .0.display())]
    Full(PathBuf),
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The log.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> Lost {
    move |source| Lost::Unreadable { path: path.to_owned(), source }
}

impl Mark {
    /// The end of the log as it is now.
    ///
    /// # Errors
    /// When it cannot be read, or its disk is full.
    pub(super) fn end_of(path: &Path) -> Result<Self, Lost> {
        let log = fs::metadata(path).map_err(unreadable(path))?;
        room(path)?;
        Ok(Self { device: log.dev(), inode: log.ino(), offset: log.size() })
    }

    fn is_in(&self, log: &fs::Metadata) -> bool {
        (log.dev(), log.ino()) == (self.device, self.inode)
    }
}

fn room(path: &Path) -> Result<(), Lost> {
    let disk = rustix::fs::statvfs(path).map_err(|e| unreadable(path)(e.into()))?;
    if disk.f_bavail == 0 { Err(Lost::Full(path.to_owned())) } else { Ok(()) }
}

/// Where a request stands: before a place, or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before.
    Before,
    /// Behind.
    Since,
}

/// Calls `each` with every request that was logged since `mark`, and with those before it that
/// ended at `earlier_ms` or later and are still in the same file. The log at `path` may have been
/// rotated any number of times meanwhile. Tells from where on the next reading has the rest; not after
/// a rotation, when nginx may still write into a file of before.
///
/// # Errors
/// When something written since `mark` is missing, or may be.
pub(super) fn read(
    path: &Path,
    mark: Mark,
    earlier_ms: Option<u64>,
    each: &mut dyn FnMut(Side, &Logged<'_>),
) -> Result<Option<Mark>, Lost> {
    let mut cut = 0;
    let mut ends = mark.offset;
    let files = files(path, mark)?;
    for (n, (file, log)) in files.iter().enumerate() {
        let begin = if n == 0 { mark.offset } else { 0 };
        if log.size() < begin {
            return Err(Lost::Emptied(path.to_owned()));
        }
        if let Some(from_ms) = earlier_ms.filter(|_| n == 0) {
            let earlier = first_since(file, from_ms, begin).map_err(unreadable(file))?;
            let mut before = |logged: &Logged<'_>| each(Side::Before, logged);
            lines(file, earlier, begin - earlier, &mut before).map_err(unreadable(file))?;
        }
        let mut since = |logged: &Logged<'_>| each(Side::Since, logged);
        let read = lines(file, begin, log.size() - begin, &mut since).map_err(unreadable(file))?;
        cut += read.cut;
        ends = begin + read.whole;
    }
    room(path)?;
    if cut > 0 {
        return Err(Lost::Cut { path: path.to_owned(), lines: cut });
    }
    Ok((files.len() == 1).then_some(Mark { offset: ends, ..mark }))
}

/// The file with `mark` in it and those that were begun since, in order. Whoever rotates a log
/// keeps its name as the beginning of the new one (logrotate(8)).
fn files(path: &Path, mark: Mark) -> Result<Vec<(PathBuf, fs::Metadata)>, Lost> {
    let now = fs::metadata(path);
    if let Ok(now) = &now
        && mark.is_in(now)
    {
        return Ok(vec![(path.to_owned(), now.clone())]);
    }
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let entries = path.parent().unwrap_or(path).read_dir().map_err(unreadable(path))?;
    let mut files: Vec<(PathBuf, fs::Metadata)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let ours = entry.file_name().as_encoded_bytes().starts_with(name);
            Some((entry.path(), entry.metadata().ok()?)).filter(|(_, log)| ours && log.is_file())
        })
        .collect();
    // The one that is written now is the last, even if nothing was written into it yet.
    files.sort_by_key(|(file, log)| (file == path, log.mtime(), log.mtime_nsec()));
    let first = files.iter().position(|(_, log)| mark.is_in(log));
    match (first, now) {
        (Some(first), Ok(_)) => Ok(files.split_off(first)),
        _ => Err(Lost::Gone(path.to_owned())),
    }
}

/// What was read of a file.
struct Passed {
    /// Lines that are no requests.
    cut: u64,
    /// Bytes of all lines. A last one without its end is still being written, and none of them.
    whole: u64,
}

/// Calls `each` with every request in `length` bytes from `begin`.
fn lines(
    file: &Path,
    begin: u64,
    length: u64,
    each: &mut dyn FnMut(&Logged<'_>),
) -> io::Result<Passed> {
    let mut log = File::open(file)?;
    log.seek(SeekFrom::Start(begin))?;
    let mut log = BufReader::with_capacity(128 * 1024, log.take(length));
    let (mut line, mut all) = (Vec::new(), Passed { cut: 0, whole: 0 });
    loop {
        line.clear();
        let read = length_of(log.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?);
        let text = line.strip_suffix(b"\n").map(std::str::from_utf8);
        if text.is_none() && read < LONGEST_LINE {
            return Ok(all);
        }
        all.whole += read;
        match text.and_then(Result::ok).and_then(Logged::read) {
            Some(logged) => each(&logged),
            None => all.cut += 1,
        }
    }
}

/// Empties the log at `path` if it is larger than `limit`; that there is none is no error.
pub(super) fn limit(path: &Path, limit: u64) -> io::Result<()> {
    // Whoever may write into its directory could let a link of its name lead elsewhere.
    let log = match File::options().write(true).custom_flags(nix::libc::O_NOFOLLOW).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        log => log?,
    };
    let seen = log.metadata()?;
    if seen.is_file() && seen.size() > limit { log.set_len(0) } else { Ok(()) }
}

/// Where, before `end`, the first line begins that ended at `from_ms` or later. Lines are in the
/// order of time but for those of different workers, which are milliseconds apart.
fn first_since(file: &Path, from_ms: u64, end: u64) -> io::Result<u64> {
    let mut log = File::open(file)?;
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low.midpoint(high);
        // The first whole line that begins at `middle` or behind it.
        let (at, begins) = line_from(&mut log, middle, end)?;
        match at {
            Some(at_ms) if at_ms < from_ms => low = begins + 1,
            // None follows, or it is late enough: what is sought begins before.
            _ => high = middle,
        }
    }
    Ok(line_from(&mut log, low, end)?.1)
}

/// When the first line that begins at `from` or behind it ended, and where it begins: at `end`, if
/// there is none.
fn line_from(log: &mut File, from: u64, end: u64) -> io::Result<(Option<u64>, u64)> {
    // A line begins where another one ends.
    let mut begins = from.saturating_sub(1);
    log.seek(SeekFrom::Start(begins))?;
    let mut log = BufReader::with_capacity(1024, log.take(end - begins));
    let mut line = Vec::new();
    if from > 0 {
        begins += length_of(log.read_until(b'\n', &mut line)?);
    }
    loop {
        line.clear();
        let read = length_of(log.read_until(b'\n', &mut line)?);
        if read == 0 {
            return Ok((None, end));
        }
        let text = line.strip_suffix(b"\n").map(std::str::from_utf8);
        if let Some(logged) = text.and_then(Result::ok).and_then(Logged::read) {
            return Ok((Some(logged.at_ms), begins));
        }
        begins += read;
    }
}

fn length_of(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
