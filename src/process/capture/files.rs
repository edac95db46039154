//! The files of one instance's log: their names, and which of them are kept.
//!
//! `api@8000.log` is written. Once it is long or old enough it is closed: renamed to
//! `api@8000.log.20260301T120000.123456Z`, the time of its last line, and perhaps compressed
//! (`.gz`) afterwards. A closed file never changes its name again, so who reads it, compresses it
//! or removes it needs to know nothing of the others; and the names alone tell which files have the
//! lines of a time.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::ident::InstanceId;

/// Of the time in the name of a closed file, in UTC.
const STAMP: &str = "%Y%m%dT%H%M%S.%6fZ";
/// How a compressed file ends.
pub(super) const PACKED: &str = ".gz";
/// How one ends while it is being compressed.
pub(super) const PART: &str = ".gz.part";

/// Whether closed files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// They stay as they are.
    Plain,
    /// gzip (RFC 1952).
    Gzip,
}

/// Where lines go beside the files, which they always go to: to be read back, and because there may
/// be no journald.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Also {
    /// Nowhere.
    Nowhere,
    /// systemd's journal, with fields.
    Journal,
}

/// How much of the output of one instance is kept in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// A file is closed once it is longer than this, in bytes.
    pub size: u64,
    /// Files in all, with the one that is written; at least 1.
    pub files: usize,
    /// A file is closed once its first line is this old, and removed once its last one is.
    pub age: Option<Duration>,
    /// What becomes of closed files.
    pub packing: Packing,
    /// Where lines go beside.
    pub also: Also,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            size: 10 * 1024 * 1024,
            files: 5,
            age: None,
            packing: Packing::Gzip,
            also: Also::Nowhere,
        }
    }
}

/// A file that is not written any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    /// When its last line was written, in microseconds since the epoch.
    pub(super) last: i64,
    pub(super) path: PathBuf,
    pub(super) packing: Packing,
}

#[derive(Debug, Clone)]
pub(super) struct LogFiles {
    current: Arc<Path>,
}

impl LogFiles {
    pub(super) fn new(dir: &Path, name: &InstanceId) -> Self {
        Self { current: dir.join(format!("{name}.log")).into() }
    }

    /// The one that is written.
    pub(super) fn current(&self) -> &Path {
        &self.current
    }

    /// What the current file is called once it is closed; `last` is the time of its last line.
    pub(super) fn closed_name(&self, last: i64) -> PathBuf {
        let at = Timestamp::from_microsecond(last).unwrap_or_default().to_zoned(TimeZone::UTC);
        with_suffix(&self.current, &format!(".{}", at.strftime(STAMP)))
    }

    /// The closed files, the oldest first; none where the directory cannot be read. Between the two
    /// steps of a compression both files are there: then the compressed one counts.
    pub(super) fn closed(&self) -> Vec<Closed> {
        let (Some(dir), Some(name)) = (self.current.parent(), self.current.file_name()) else {
            return Vec::new();
        };
        let prefix = format!("{}.", name.to_string_lossy());
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut closed: Vec<Closed> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let stamp = name.to_str()?.strip_prefix(&prefix)?;
                let (stamp, packing) = stamp
                    .strip_suffix(PACKED)
                    .map_or((stamp, Packing::Plain), |stamp| (stamp, Packing::Gzip));
                Some(Closed { last: moment(stamp)?, path: entry.path(), packing })
            })
            .collect();
        closed.sort_by_key(|file| (file.last, file.packing == Packing::Plain));
        closed.dedup_by_key(|file| file.last);
        closed
    }
}

/// The moment in the name of a closed file.
fn moment(stamp: &str) -> Option<i64> {
    let at = DateTime::strptime(STAMP, stamp).ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(at.timestamp().as_microsecond())
}

/// `path` with `suffix` behind its last component.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// How many of `closed` (the oldest first) are not to be kept any more at the time `now`.
pub(super) fn outdated(closed: &[Closed], keeping: &Keeping, now: i64) -> usize {
    let beside_current = keeping.files.saturating_sub(1);
    let too_many = closed.len().saturating_sub(beside_current);
    let oldest = keeping.oldest(now);
    let too_old = closed.iter().take_while(|file| file.last < oldest).count();
    too_many.max(too_old)
}

impl Keeping {
    /// Lines before this are too old at the time `now`.
    pub(super) fn oldest(&self, now: i64) -> i64 {
        let age = self.age.and_then(|age| i64::try_from(age.as_micros()).ok());
        age.map_or(i64::MIN, |age| now.saturating_sub(age))
    }
}

/// Removes a closed file, and what a daemon that was killed while it compressed it left beside it.
pub(super) fn remove(file: &Closed) -> io::Result<()> {
    let _ = match file.packing {
        Packing::Plain => fs::remove_file(with_suffix(&file.path, PART)),
        Packing::Gzip => fs::remove_file(file.path.with_extension("")),
    };
    match fs::remove_file(&file.path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn closed_files_are_told_by_their_names_alone() {
        let dir = tempfile::TempDir::new().unwrap();
        let files = LogFiles::new(dir.path(), &"api@8000".parse().unwrap());
        let at = "2026-03-01T12:00:00.000007Z".parse::<Timestamp>().unwrap().as_microsecond();
        let name = files.closed_name(at);
        assert!(name.ends_with("api@8000.log.20260301T120000.000007Z"), "{}", name.display());
        let later = files.closed_name(at + 1);
        for path in [&later, &name, &with_suffix(&name, PACKED)] {
            fs::write(path, "").unwrap();
        }
        for stranger in ["api@8000.log", "api@8000.log.1", "api@80001.log.20260301T120000.000000Z"]
        {
            fs::write(dir.path().join(stranger), "").unwrap();
        }
        fs::write(with_suffix(&later, PART), "").unwrap();
        let closed = files.closed();
        let told: Vec<_> = closed.iter().map(|file| (file.last, file.packing)).collect();
        let (plain, packed) = (Packing::Plain, Packing::Gzip);
        assert_eq!(told, [(at, packed), (at + 1, plain)]);
        for file in &closed {
            remove(file).unwrap();
        }
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 3, "those that are not ours, or not closed");
    }

    #[test]
    fn files_go_when_they_are_too_many_or_too_old() {
        let closed: Vec<_> = (0..6)
            .map(|n| Closed { last: n * 1_000_000, path: "x".into(), packing: Packing::Plain })
            .collect();
        let keeping = |files, age| Keeping { files, age, ..Keeping::default() };
        let now = 10_000_000;
        assert_eq!(outdated(&closed, &keeping(7, None), now), 0);
        assert_eq!(outdated(&closed, &keeping(5, None), now), 2);
        assert_eq!(outdated(&closed, &keeping(1, None), now), 6);
        let age = Some(Duration::from_secs(7));
        assert_eq!(outdated(&closed, &keeping(7, age), now), 3);
        assert_eq!(outdated(&closed, &keeping(3, age), now), 4);
        // A clock that was set back makes nothing too old.
        assert_eq!(outdated(&closed, &keeping(7, age), -1), 0);
    }
}
