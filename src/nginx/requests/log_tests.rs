use std::io::Write as _;

use tempfile::TempDir;

use super::*;

/// Before, since, and from where to go on.
type Found = (Vec<u64>, Vec<u64>, Option<Mark>);

struct Log {
    dir: TempDir,
}

impl Log {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("requests.log")
    }

    fn raw(&self, text: &str) -> &Self {
        let mut log = File::options().append(true).create(true).open(self.path()).unwrap();
        log.write_all(text.as_bytes()).unwrap();
        self
    }

    /// A request that ended at each of these milliseconds.
    fn write(&self, ends: impl IntoIterator<Item = u64>) -> &Self {
        let lines: String = ends.into_iter().map(line).collect();
        self.raw(&lines)
    }

    fn rotate(&self, to: &str) {
        fs::rename(self.path(), self.dir.path().join(to)).unwrap();
    }

    fn rotate_back_as_link(&self, to: &str) {
        std::os::unix::fs::symlink(self.dir.path().join(to), self.path()).unwrap();
    }

    fn mark(&self) -> Mark {
        Mark::end_of(&self.path()).unwrap()
    }

    /// When those ended that stand before and behind `mark`.
    fn read(&self, mark: Mark, from_ms: u64) -> Result<(Vec<u64>, Vec<u64>), Lost> {
        self.go_on(mark, Some(from_ms)).map(|(before, since, _)| (before, since))
    }

    /// The same, with the place to go on from.
    fn go_on(&self, mark: Mark, earlier_ms: Option<u64>) -> Result<Found, Lost> {
        let (mut before, mut since) = (vec![], vec![]);
        let next = read(&self.path(), mark, earlier_ms, &mut |side, logged| match side {
            Side::Before => before.push(logged.at_ms),
            Side::Since => since.push(logged.at_ms),
        })?;
        Ok((before, since, next))
    }
}

fn line(at: u64) -> String {
    format!("{}.{:03}|200|0.005|OK|127.0.0.1:8000|200|0.004|\n", at / 1000, at % 1000)
}

#[test]
fn what_was_written_since_and_shortly_before_is_read() {
    let log = Log::new();
    log.write(0..100);
    let mark = log.mark();
    log.write(100..103);
    assert_eq!(log.read(mark, 97).unwrap(), (vec![97, 98, 99], vec![100, 101, 102]));
    assert!(log.read(mark, 1000).unwrap().0.is_empty());
    for from in 0..=100 {
        assert_eq!(log.read(mark, from).unwrap().0, (from..100).collect::<Vec<_>>());
    }
}

#[test]
fn what_was_read_is_not_read_again() {
    let log = Log::new();
    log.write([1]);
    let mark = log.mark();
    let half = line(3);
    log.write([2]).raw(&half[..10]);
    let (before, since, next) = log.go_on(mark, Some(0)).unwrap();
    assert_eq!((before, since), (vec![1], vec![2]));
    log.raw(&half[10..]).write([4]);
    let (before, since, next) = log.go_on(next.unwrap(), None).unwrap();
    assert_eq!((before, since), (vec![], vec![3, 4]), "the line that was cut in two included");
    log.rotate("requests.log.1");
    log.write([5]);
    let (_, since, next) = log.go_on(next.unwrap(), None).unwrap();
    assert_eq!((since, next), (vec![5], None), "the old one may still be written");
}

#[test]
fn an_empty_log_has_nothing() {
    let log = Log::new();
    log.raw("");
    let mark = log.mark();
    assert_eq!(log.read(mark, 0).unwrap(), (vec![], vec![]));
    log.raw("1.000|200|0.0");
    assert_eq!(log.read(mark, 0).unwrap(), (vec![], vec![]), "it is still being written");
}

#[test]
fn rotations_lose_nothing() {
    let log = Log::new();
    log.write([1]);
    let mark = log.mark();
    log.write([2]).rotate("requests.log.1");
    log.write([3]);
    assert_eq!(log.read(mark, 0).unwrap(), (vec![1], vec![2, 3]));
    log.rotate("requests.log-20260301");
    log.write([4]);
    assert_eq!(log.read(mark, 0).unwrap(), (vec![1], vec![2, 3, 4]));
    fs::remove_file(log.dir.path().join("requests.log.1")).unwrap();
    assert!(matches!(log.read(mark, 0), Err(Lost::Gone(_))));
}

#[test]
fn what_is_missing_is_told() {
    let log = Log::new();
    assert!(matches!(Mark::end_of(&log.path()), Err(Lost::Unreadable { .. })));
    log.write([1]);
    let mark = log.mark();
    log.write([2]).raw("3.000|200|0.").write([4, 5]).raw("\n");
    assert!(matches!(log.read(mark, 0), Err(Lost::Cut { lines: 2, .. })));
    fs::write(log.path(), "").unwrap();
    assert!(matches!(log.read(mark, 0), Err(Lost::Emptied(_))));
    fs::remove_file(log.path()).unwrap();
    assert!(matches!(log.read(mark, 0), Err(Lost::Gone(_))));
}

#[test]
fn lines_of_others_before_the_place_are_passed_over() {
    let log = Log::new();
    log.raw("hello\n").write([1]).raw("1.000|\n\u{e4}\n").write([2]);
    let mark = log.mark();
    assert_eq!(log.read(mark, 0).unwrap(), (vec![1, 2], vec![]));
    assert_eq!(log.read(mark, 2).unwrap(), (vec![2], vec![]));
}

#[test]
fn a_log_that_is_too_large_is_emptied() {
    let log = Log::new();
    limit(&log.path(), 0).unwrap();
    log.write(0..10);
    limit(&log.path(), 10_000).unwrap();
    assert!(fs::metadata(log.path()).unwrap().size() > 100);
    limit(&log.path(), 100).unwrap();
    assert_eq!(fs::metadata(log.path()).unwrap().size(), 0);
    log.rotate("other");
    log.rotate_back_as_link("other");
    assert!(limit(&log.path(), 0).is_err(), "a link is not followed");
}
