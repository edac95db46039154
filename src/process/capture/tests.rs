use std::{fs, io::Write, path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;

use super::{Capture, Keeping, Shelf, Wanted};
use crate::{
    ident::Generation,
    process::{Line, Stream},
};

pub(super) fn open(dir: &Path) -> Capture {
    with(dir, Keeping::default())
}

pub(super) fn with(dir: &Path, keeping: Keeping) -> Capture {
    Capture::open(&"api@8000".parse().unwrap(), dir, dir, keeping, &Shelf::default()).unwrap()
}

pub(super) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("in time")
}

pub(super) fn writers(capture: &Capture) -> [fs::File; 2] {
    capture.ends().unwrap().map(fs::File::from)
}

pub(super) fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

pub(super) fn grows(lines: &[Line]) -> bool {
    lines.is_sorted_by(|a, b| a.at < b.at)
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("api@8000.log")).unwrap()
}

#[tokio::test]
async fn lines_carry_stream_and_generation_and_the_last_needs_no_end() {
    let dir = TempDir::new().unwrap();
    let capture = open(dir.path());
    let [mut out, mut err] = writers(&capture);
    capture.begin(Generation(1).into());
    assert!(!dir.path().join("api@8000.log").exists(), "it is made with its first line");
    out.write_all(b"one\ntwo").unwrap();
    within(capture.settle()).await;
    capture.begin(Generation(2).into());
    err.write_all(b"three\n").unwrap();
    within(capture.settle()).await;
    let lines = capture.tail(10, &Wanted::default()).await;
    assert_eq!(texts(&lines), ["one", "two", "three"]);
    assert_eq!(lines.iter().map(|l| l.generation.0).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(lines[2].stream, Stream::Stderr);
    assert!(grows(&lines));
    assert_eq!(texts(&capture.tail(1, &Wanted::default()).await), ["three"]);
}

#[tokio::test]
async fn the_next_daemon_goes_on_where_the_file_ends() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("api@8000.log");
    // From a clock that was ahead; then a line torn by a full disk, and one by a kill.
    let ahead = jiff::Timestamp::now().as_microsecond() + 1_000_000_000;
    let old = format!("{{\"at\":{ahead},\"generation\":4,\"stream\":\"stdout\",\"text\":\"old\"}}");
    fs::write(&path, format!("{old}\n{{\"at\":12\nnonsense\n\n{{\"at\":1")).unwrap();
    let capture = open(dir.path());
    let [mut out, _err] = writers(&capture);
    out.write_all(b"new\n").unwrap();
    within(capture.settle()).await;
    let lines = capture.tail(10, &Wanted::default()).await;
    assert_eq!(texts(&lines), ["old", "new"]);
    assert_eq!(lines[1].generation, Generation(4));
    assert!(grows(&lines));
    within(capture.flush()).await;
    assert_eq!(log(dir.path()).lines().filter(|line| line.ends_with("\"new\"}")).count(), 1);
}

#[tokio::test]
async fn more_lines_than_memory_holds_come_from_the_files() {
    let dir = TempDir::new().unwrap();
    let capture = open(dir.path());
    let [mut out, _err] = writers(&capture);
    for i in 0..2000 {
        writeln!(out, "line {i}").unwrap();
    }
    within(capture.settle()).await;
    let lines = within(capture.tail(1500, &Wanted::default())).await;
    assert_eq!(lines.len(), 1500);
    assert_eq!((lines[0].text.as_str(), lines[1499].text.as_str()), ("line 500", "line 1999"));
    assert!(grows(&lines));
    assert_eq!(within(capture.tail(5000, &Wanted::default())).await.len(), 2000);
}

#[tokio::test]
async fn a_follower_sees_each_line_once() {
    let dir = TempDir::new().unwrap();
    let capture = open(dir.path());
    let [mut out, _err] = writers(&capture);
    let writer = std::thread::spawn(move || {
        for i in 0..5000 {
            writeln!(out, "{i}").unwrap();
        }
        out
    });
    // Begins in the middle of it.
    let (_, mut first) = capture.follow(0, &Wanted::default()).await;
    within(first.recv()).await.unwrap();
    let (mut lines, mut rest) = within(capture.follow(100_000, &Wanted::default())).await;
    let mut seen: u64 = lines.iter().map(counted).sum();
    while seen < 5000 {
        lines.push(within(rest.recv()).await.unwrap());
        seen += lines.last().map_or(0, counted);
    }
    writer.join().unwrap();
    assert_eq!(seen, 5000);
    assert!(grows(&lines));
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line.text.parse().ok()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
}

/// How many lines a line stands for.
fn counted(line: &Line) -> u64 {
    let slow = line.text.strip_prefix("[aibk: this reader was too slow for ");
    slow.and_then(|rest| rest.strip_suffix(" lines]")).map_or(1, |n| n.parse().unwrap())
}

#[tokio::test]
async fn a_slow_follower_is_told_although_nothing_more_is_written() {
    let dir = TempDir::new().unwrap();
    let capture = open(dir.path());
    let [mut out, _err] = writers(&capture);
    let (_, mut lines) = capture.follow(0, &Wanted::default()).await;
    for i in 0..400 {
        writeln!(out, "{i}").unwrap();
    }
    within(capture.settle()).await;
    for i in 0..256 {
        assert_eq!(within(lines.recv()).await.unwrap().text, i.to_string());
    }
    let notice = within(lines.recv()).await.unwrap().text;
    assert_eq!(notice, "[aibk: this reader was too slow for 144 lines]");
}

#[tokio::test]
async fn a_full_disk_is_told_once_there_is_room_again() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("api@8000.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let capture = open(dir.path());
    let [mut out, _err] = writers(&capture);
    out.write_all(b"one\ntwo\n").unwrap();
    within(capture.settle()).await;
    within(capture.flush()).await;
    fs::remove_file(&path).unwrap();
    out.write_all(b"three\n").unwrap();
    within(capture.settle()).await;
    assert_eq!(texts(&capture.tail(10, &Wanted::default()).await), ["one", "two", "three"]);
    within(capture.flush()).await;
    let log = log(dir.path());
    let lines: Vec<Line> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(grows(&lines));
    assert!(lines[0].text.starts_with("[aibk: 2 lines are missing here:"), "{log}");
    assert_eq!(lines[1].text, "three");
}

#[tokio::test]
async fn what_is_no_fifo_is_not_used() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("fifo")).unwrap();
    fs::write(dir.path().join("fifo/api@8000.out"), "").unwrap();
    let name = "api@8000".parse().unwrap();
    let (keeping, shelf) = (Keeping::default(), Shelf::default());
    let opened = Capture::open(&name, dir.path(), dir.path(), keeping, &shelf);
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("it is no FIFO; remove it"), "{error}");
}

#[tokio::test]
async fn a_flood_blocks_nobody_and_stays_within_bounds() {
    const LINES: u64 = 500_000;
    let dir = TempDir::new().unwrap();
    let capture = open(dir.path());
    let [mut out, _err] = writers(&capture);
    let flood = tokio::task::spawn_blocking(move || {
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        let block = line.repeat(1000);
        for _ in 0..LINES / 1000 {
            out.write_all(&block).unwrap();
        }
        out
    });
    let out = within(flood).await.unwrap();
    within(capture.settle()).await;
    within(capture.flush()).await;
    let shared = Arc::clone(&capture.shared);
    assert!(shared.hub().recent(usize::MAX, &Wanted::default()).0.len() <= 256);
    // 50 MB of text do not fit into the files that are kept; the newest lines are in them.
    let files = fs::read_dir(dir.path()).unwrap().flatten();
    let logs: Vec<_> = files.filter(|f| f.file_type().unwrap().is_file()).collect();
    // One more may be on its way to be compressed.
    assert!((5..=6).contains(&logs.len()), "{logs:?}");
    assert!(logs.iter().all(|f| f.metadata().unwrap().len() < 11 * 1024 * 1024));
    let tail = within(capture.tail(1000, &Wanted::default())).await;
    assert_eq!(tail.len(), 1000);
    assert!(grows(&tail));
    drop(out);
}
