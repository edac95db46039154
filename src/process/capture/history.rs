//! Reading the files of a log back: the last lines of a range, or all of it.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use super::{
    Line, Wanted,
    fifo::Since,
    files::{Closed, LogFiles, PACKED, Packing, with_suffix},
};

/// Bytes read at once, from the end of a file towards its beginning.
const BLOCK: usize = 64 * 1024;
/// The most text that is taken into memory for one question, in bytes.
const MOST: usize = 16 * 1024 * 1024;
/// Longer than any line of ours: what is longer is no line, and is skipped in pieces.
const LONGEST: u64 = 256 * 1024;

/// Lines found so far, on the way back in time.
struct Found<'w> {
    wanted: &'w Wanted,
    newest_first: Vec<Line>,
    bytes: usize,
    n: usize,
    /// Only older lines are taken: a file that is closed meanwhile shows lines twice.
    before: i64,
}

impl Found<'_> {
    fn is_full(&self) -> bool {
        self.newest_first.len() >= self.n || self.bytes >= MOST
    }

    /// Takes a line if it is wanted; whether to go on. What is no line of ours is skipped: a full
    /// disk may have torn one.
    fn take(&mut self, text: &[u8]) -> bool {
        let Some(at) = time(text) else { return true };
        if at >= self.before {
            return true;
        }
        if self.wanted.has_time(at)
            && let Ok(line) = serde_json::from_slice::<Line>(text)
        {
            self.before = at;
            if self.wanted.has(&line) {
                self.bytes += line.text.len();
                self.newest_first.push(line);
            }
        }
        !self.wanted.begins_at(at) && !self.is_full()
    }
}

impl LogFiles {
    /// The last line of all. At the very first start no closed files are looked for; later there may
    /// be no current one, for a daemon was killed as it closed it.
    pub(super) fn newest(&self, since: Since) -> Option<Line> {
        let looks = since == Since::Before || self.current().exists();
        looks.then(|| self.last(1, &Wanted::default(), i64::MAX).pop()).flatten()
    }

    /// The last `n` wanted lines before the time `before`, oldest first; fewer where they are more
    /// than 16 MiB.
    pub(super) fn last(&self, n: usize, wanted: &Wanted, before: i64) -> Vec<Line> {
        let mut found = Found { wanted, newest_first: Vec::new(), bytes: 0, n, before };
        // A missing file is the usual case: not that much was ever written.
        let _ = read_backwards(self.current(), |text| found.take(text));
        if !found.is_full() && !wanted.begins_at(found.before) {
            let mut newer_first = self.closed().into_iter().rev().peekable();
            while let Some(file) = newer_first.next() {
                if found.is_full() || wanted.begins_at(file.last + 1) {
                    break;
                }
                // It begins after the last line of the one before.
                let older = newer_first.peek().map_or(i64::MIN, |file: &Closed| file.last);
                if wanted.ends_before(older) {
                    continue;
                }
                let _ = match file.packing {
                    Packing::Plain => read_backwards(&file.path, |text| found.take(text)),
                    Packing::Gzip => read_packed(&file.path, &mut found),
                };
            }
        }
        found.newest_first.reverse();
        found.newest_first
    }

    /// Every wanted line that is in the files now, oldest first.
    pub(super) fn all(&self, wanted: &Wanted) -> All {
        // Opened before the others are looked for, so that none is missed that is closed meanwhile.
        let current = File::open(self.current()).and_then(plain).ok();
        let closed = self.closed().into_iter().filter(|file| !wanted.begins_at(file.last + 1));
        let closed = closed.collect::<Vec<_>>().into_iter();
        All { wanted: wanted.clone(), closed, current, open: None, after: i64::MIN }
    }
}

type Source = Box<dyn BufRead + Send>;

/// What is in it now: lines that come faster than they are read must not keep the reader for ever.
fn plain(file: File) -> io::Result<Source> {
    let size = file.metadata()?.len();
    Ok(Box::new(BufReader::with_capacity(BLOCK, file.take(size))))
}

fn packed(file: File) -> Source {
    Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(file))))
}

/// The lines of a log, one by one.
pub(super) struct All {
    wanted: Wanted,
    closed: std::vec::IntoIter<Closed>,
    current: Option<Source>,
    open: Option<Source>,
    after: i64,
}

impl All {
    /// Opens the next file; whether there is one.
    fn turn_page(&mut self) -> bool {
        for file in self.closed.by_ref() {
            if self.after >= file.last {
                continue;
            }
            let opened = match file.packing {
                Packing::Gzip => File::open(&file.path).map(packed),
                // It may have been compressed since.
                Packing::Plain => File::open(&file.path)
                    .and_then(plain)
                    .or_else(|_| File::open(with_suffix(&file.path, PACKED)).map(packed)),
            };
            // It may be gone by now, as any old file goes.
            if let Ok(source) = opened {
                self.open = Some(source);
                return true;
            }
        }
        self.open = self.current.take();
        self.open.is_some()
    }
}

impl Iterator for All {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let mut text = Vec::new();
        loop {
            let Some(source) = self.open.as_mut() else {
                if self.turn_page() {
                    continue;
                }
                return None;
            };
            text.clear();
            // A damaged file ends where it is damaged.
            if source.take(LONGEST).read_until(b'\n', &mut text).unwrap_or(0) == 0 {
                self.open = None;
                continue;
            }
            let Some(at) = time(&text).filter(|at| *at > self.after) else { continue };
            if self.wanted.ends_before(at) {
                return None;
            }
            if !self.wanted.has_time(at) {
                continue;
            }
            let Ok(line) = serde_json::from_slice::<Line>(&text) else { continue };
            self.after = at;
            if self.wanted.has(&line) {
                return Some(line);
            }
        }
    }
}

/// All wanted lines of an instance, oldest first.
pub struct History {
    files: All,
    recent: std::vec::IntoIter<Line>,
    last: i64,
}

impl History {
    /// Those of the files, and then those of `recent` that are newer.
    pub(super) fn new(files: All, recent: Vec<Line>) -> Self {
        Self { files, recent: recent.into_iter(), last: i64::MIN }
    }
}

impl Iterator for History {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if let Some(line) = self.files.next() {
            self.last = line.at;
            return Some(line);
        }
        self.recent.find(|line| line.at > self.last)
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("last", &self.last).finish_non_exhaustive()
    }
}

/// The time of a line, which is where we write it: at its beginning.
fn time(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"{\"at\":")?;
    let end = digits.iter().position(|byte| *byte == b',')?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// The time of the first line of a file.
pub(super) fn first_time(path: &Path) -> Option<i64> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(64).read_to_end(&mut head).ok()?;
    time(&head)
}

/// A compressed file can only be read forwards, so its last wanted lines are kept on the way.
fn read_packed(path: &Path, found: &mut Found<'_>) -> io::Result<()> {
    let mut source = packed(File::open(path)?);
    let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
    let (mut bytes, room) = (0, found.n - found.newest_first.len());
    let mut text = Vec::new();
    loop {
        text.clear();
        // A damaged file ends where it is damaged.
        if (&mut source).take(LONGEST).read_until(b'\n', &mut text).unwrap_or(0) == 0 {
            break;
        }
        let in_time = time(&text).filter(|at| *at < found.before && found.wanted.has_time(*at));
        let line = in_time.and_then(|_| serde_json::from_slice::<Line>(&text).ok());
        if line.is_some_and(|line| found.wanted.has(&line)) {
            bytes += text.len();
            kept.push_back(text.clone());
            while kept.len() > room || bytes > MOST {
                bytes -= kept.pop_front().map_or(bytes, |old| old.len());
            }
        }
    }
    while let Some(text) = kept.pop_back() {
        if !found.take(text.trim_ascii_end()) {
            break;
        }
    }
    Ok(())
}

/// Gives every line of a file to `take`, last first, until it says `false`.
fn read_backwards(path: &Path, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut start = file.seek(SeekFrom::End(0))?;
    // The beginning of a line whose end was already read.
    let mut tail: Vec<u8> = Vec::new();
    while start > 0 {
        let size = BLOCK.min(usize::try_from(start).unwrap_or(BLOCK));
        start -= size as u64;
        let mut block = vec![0; size];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        block.append(&mut tail);
        let mut lines = block.rsplit(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            if lines.peek().is_none() && start > 0 {
                tail = line.to_vec();
            } else if !line.is_empty() && !take(line) {
                return Ok(());
            }
        }
    }
    Ok(())
}
