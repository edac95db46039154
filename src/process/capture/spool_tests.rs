//! A daemon that was killed, at every place between a FIFO and the log.

use std::{fs, io::Write, os::fd::OwnedFd, path::Path};

use tempfile::TempDir;

use super::{
    Shelf, Wanted,
    fifo::Fifo,
    log_file::{Mark, Span},
    spool::{Found, Spool, Stretch},
    tests::{grows, open, texts, within},
};
use crate::{
    ident::Generation,
    process::{Line, Stream},
};

const HEAD: u64 = 4096;
const FIRST: i64 = 1_700_000_000_000_000;

/// What an earlier daemon left.
struct Left {
    dir: TempDir,
    spool: Spool,
    child: fs::File,
}

impl Left {
    /// It took `taken` out of the FIFO.
    fn with(taken: &[u8]) -> Self {
        let dir = TempDir::new().unwrap();
        let path = super::fifo::path(dir.path(), &"api@8000".parse().unwrap(), Stream::Stdout);
        let fifo = Fifo::make(path, &Shelf::default()).unwrap();
        let child = fs::File::from(fifo.child_end().unwrap());
        let spool = Spool::make(&fifo.spool()).unwrap();
        let left = Self { dir, spool, child };
        left.takes(taken);
        left
    }

    fn takes(&self, bytes: &[u8]) {
        (&self.child).write_all(bytes).unwrap();
        let size = self.spool.size().unwrap();
        assert_eq!(self.spool.fill(&self.child, size, bytes.len()).unwrap(), bytes.len());
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self, bytes: &[u8]) {
        fs::write(self.path().join("api@8000.log"), bytes).unwrap();
    }

    /// Every line that the next daemon knows, once it has written all.
    async fn read_by_the_next(&self) -> Vec<Line> {
        let capture = open(self.path());
        within(capture.settle()).await;
        within(capture.flush()).await;
        let lines: Vec<Line> = capture.history(&Wanted::default()).await.collect();
        assert!(grows(&lines));
        let again = within(capture.tail(usize::MAX, &Wanted::default())).await;
        assert_eq!(lines, again);
        lines
    }
}

/// Lines as they stand in the log; the first has the time `at`.
fn written(at: i64, lines: &[&str]) -> Vec<u8> {
    let line = |(text, at): (&&str, i64)| {
        let (generation, stream) = (Generation(3), Stream::Stdout);
        let line = Line { at, generation, stream, text: (*text).to_owned() };
        [serde_json::to_vec(&line).unwrap(), b"\n".to_vec()].concat()
    };
    lines.iter().zip(at..).flat_map(line).collect()
}

fn span(at: i64, lines: u64) -> Span {
    Span { first: Mark { at, generation: Generation(3) }, last: at + 9, lines }
}

fn stretch(from: u64, to: u64) -> Stretch {
    Stretch { from: HEAD + from, to: HEAD + to }
}

const ALL: [&str; 5] = ["zero", "one", "two", "three", "four"];

#[tokio::test]
async fn a_kill_in_the_middle_of_a_line_of_the_log_loses_and_doubles_nothing() {
    let batch = written(FIRST + 10, &["one", "two"]);
    for cut in 0..=batch.len() {
        let left = Left::with(b"zero\none\ntwo\nthr");
        left.spool.done(HEAD + 5).unwrap();
        left.spool.begin(stretch(5, 13), span(FIRST + 10, 2)).unwrap();
        left.log(&[&written(FIRST, &["zero"]), &batch[..cut]].concat());
        // Meanwhile it goes on writing.
        (&left.child).write_all(b"ee\nfour\n").unwrap();
        let lines = left.read_by_the_next().await;
        assert_eq!(texts(&lines), ALL, "cut at {cut}");
        assert!(lines.iter().all(|line| line.generation == Generation(3)));
        // And the one after that.
        assert_eq!(texts(&left.read_by_the_next().await), ALL, "cut at {cut}, again");
    }
}

#[tokio::test]
async fn a_kill_before_and_after_the_log_was_written_loses_and_doubles_nothing() {
    for (text, known) in [("", 5), ("one\ntwo\n", 5), ("one\ntwo\n", 13)] {
        let left = Left::with(format!("zero\n{text}").as_bytes());
        left.spool.done(HEAD + known).unwrap();
        let lines: &[&str] = if known == 5 { &ALL[..1] } else { &ALL[..3] };
        left.log(&written(FIRST, lines));
        let rest: &[u8] =
            if text.is_empty() { b"one\ntwo\nthree\nfour\n" } else { b"three\nfour\n" };
        (&left.child).write_all(rest).unwrap();
        assert_eq!(texts(&left.read_by_the_next().await), ALL, "{text:?} {known}");
    }
}

#[tokio::test]
async fn a_kill_between_closing_a_file_and_the_next_one_doubles_nothing() {
    let left = Left::with(b"zero\none\ntwo\nthree\nfour\n");
    left.spool.begin(stretch(0, 13), span(FIRST, 3)).unwrap();
    let closed = left.path().join("api@8000.log.20231114T221320.000002Z");
    fs::write(closed, written(FIRST, &ALL[..3])).unwrap();
    assert_eq!(texts(&left.read_by_the_next().await), ALL);
}

#[tokio::test]
async fn a_last_line_without_its_end_is_one_line_for_the_next_daemon_too() {
    for in_log in [&ALL[..1], &ALL[..2]] {
        let left = Left::with(b"zero\none");
        left.spool.done(HEAD + 5).unwrap();
        left.spool.begin(stretch(5, 8), span(FIRST + 1, 1)).unwrap();
        left.log(&written(FIRST, in_log));
        assert_eq!(texts(&left.read_by_the_next().await), ALL[..2]);
    }
}

#[tokio::test]
async fn what_another_stream_writes_afterwards_does_not_vouch_for_this_one() {
    let left = Left::with(b"zero\none\n");
    left.spool.begin(stretch(0, 9), span(FIRST, 2)).unwrap();
    left.log(&[]);
    // The next daemon looks, and is killed before it has read any of it, after a line of the other.
    left.spool.found(FIRST - 1).unwrap();
    left.log(&written(FIRST + 100, &["other"]));
    assert_eq!(texts(&left.read_by_the_next().await), ["other", "zero", "one"]);
}

#[tokio::test]
async fn what_the_log_was_too_slow_for_is_given_up_and_told() {
    let left = Left::with(b"zero\n");
    left.log(&written(FIRST, &["zero"]));
    left.spool.done(HEAD + 5).unwrap();
    let block = [vec![b'x'; 1023], b"\n".to_vec()].concat().repeat(64);
    for _ in 0..63 {
        left.takes(&block);
    }
    let size = left.spool.size().unwrap();
    left.spool.bound(size).unwrap();
    assert_eq!(left.spool.found(FIRST).unwrap().next, HEAD + 5, "there is room for so much");
    left.takes(&block);
    left.takes(&block);
    let size = left.spool.size().unwrap();
    left.spool.bound(size).unwrap();
    let used = std::os::unix::fs::MetadataExt::blocks(
        &fs::metadata(left.path().join("fifo/api@8000.out.spool")).unwrap(),
    );
    assert!(used <= 32, "{used} blocks are still used");
    (&left.child).write_all(b"new\n").unwrap();
    let lines = left.read_by_the_next().await;
    assert!(lines[1].text.starts_with("[aibk: 4259840 bytes of output are missing"), "{lines:?}");
    assert_eq!((lines.len(), lines[2].text.as_str()), (3, "new"));
}

#[tokio::test]
async fn a_spool_that_makes_no_sense_begins_anew() {
    for garbage in [&b"nonsense"[..], &[0xff; 5000], &[0; 5000]] {
        let left = Left::with(b"");
        fs::write(left.path().join("fifo/api@8000.out.spool"), garbage).unwrap();
        (&left.child).write_all(b"line\n").unwrap();
        assert_eq!(texts(&left.read_by_the_next().await), ["line"]);
        let found = Found { next: HEAD + 5, size: HEAD + 5, missing: 0 };
        assert_eq!(left.spool.found(0).unwrap(), found);
    }
}

#[tokio::test]
async fn without_a_spool_lines_get_into_the_log_all_the_same() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("fifo/api@8000.out.spool")).unwrap();
    let capture = open(dir.path());
    let [out, _err] = capture.ends().unwrap();
    write_to(&out, b"one\ntwo");
    within(capture.settle()).await;
    // Now there can be one: half of a line is on either side.
    write_to(&out, b"three\nfo");
    within(capture.settle()).await;
    fs::remove_dir(dir.path().join("fifo/api@8000.out.spool")).unwrap();
    write_to(&out, b"ur\nfive\n");
    within(capture.settle()).await;
    let lines = within(capture.tail(10, &Wanted::default())).await;
    assert_eq!(texts(&lines), ["one", "two", "three", "fo", "ur", "five"]);
}

fn write_to(end: &OwnedFd, bytes: &[u8]) {
    fs::File::from(end.try_clone().unwrap()).write_all(bytes).unwrap();
}
