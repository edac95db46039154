use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    Capture, Keeping, Packing, Wanted,
    files::LogFiles,
    log_file::{LogFile, Mark, Span},
    tests::{grows, open, texts, with, within, writers},
};
use crate::ident::Generation;

const SMALL: u64 = 64 * 1024;

/// Writes the lines `from..to`, in pieces that do not overrun the writer.
async fn count(capture: &Capture, out: &mut fs::File, from: u32, to: u32) {
    for i in from..to {
        writeln!(out, "line {i} {}", "x".repeat(100)).unwrap();
        if i % 1000 == 999 {
            within(capture.settle()).await;
            within(capture.flush()).await;
        }
    }
    within(capture.settle()).await;
    within(capture.flush()).await;
}

fn closed(dir: &Path) -> Vec<PathBuf> {
    let files = LogFiles::new(dir, &"api@8000".parse().unwrap()).closed();
    files.into_iter().map(|file| file.path).collect()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waiting for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn numbers(lines: &[super::Line]) -> Vec<u32> {
    lines.iter().filter_map(|line| line.text.split(' ').nth(1)?.parse().ok()).collect()
}

#[tokio::test]
async fn compressed_files_are_read_back_without_a_gap() {
    let dir = TempDir::new().unwrap();
    let capture = with(dir.path(), Keeping { size: SMALL, files: 4, ..Keeping::default() });
    let [mut out, _err] = writers(&capture);
    count(&capture, &mut out, 0, 3000).await;
    let packed = |path: &PathBuf| path.extension().is_some_and(|end| end == "gz");
    until("the files to be compressed", || closed(dir.path()).iter().all(packed)).await;
    assert_eq!(closed(dir.path()).len(), 3);

    let all = Wanted::default();
    let last = within(capture.tail(10_000, &all)).await;
    let told = numbers(&last);
    assert!(grows(&last) && told.len() > 1000 && told.last() == Some(&2999), "{}", told.len());
    assert!(told.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let history: Vec<_> = within(capture.history(&all)).await.collect();
    assert_eq!(history, last, "from either end");

    let (from, to) = (last[100].at, last[700].at);
    let range = Wanted::default().since(from).until(to);
    assert_eq!(within(capture.tail(10_000, &range)).await, last[100..700]);
    assert_eq!(within(capture.tail(50, &range)).await, last[650..700]);
    assert_eq!(within(capture.history(&range)).await.collect::<Vec<_>>(), last[100..700]);
    let sevens = Wanted::default().until(to).grep("line [0-9]*7 ").unwrap();
    let found = within(capture.tail(5, &sevens)).await;
    assert!(found.len() == 5 && numbers(&found).iter().all(|n| n % 10 == 7), "{found:?}");
    assert!(found[0].at > last[700].at - (last[700].at - last[640].at));
    let none = Wanted::default().since(last.last().unwrap().at + 1);
    assert!(within(capture.tail(10, &none)).await.is_empty());
    assert_eq!(within(capture.history(&none)).await.count(), 0);
}

#[tokio::test]
async fn the_next_daemon_reads_the_closed_files_too() {
    let dir = TempDir::new().unwrap();
    let keeping = Keeping { size: SMALL, files: 3, packing: Packing::Plain, ..Keeping::default() };
    let capture = with(dir.path(), keeping);
    let [mut out, _err] = writers(&capture);
    count(&capture, &mut out, 0, 1500).await;
    drop(capture);
    let capture = with(dir.path(), keeping);
    let last = within(capture.tail(10_000, &Wanted::default())).await;
    assert!(last.len() > 500 && numbers(&last).last() == Some(&1499));
    out.write_all(b"line 1500 \n").unwrap();
    within(capture.settle()).await;
    let more = within(capture.tail(2, &Wanted::default())).await;
    assert_eq!(numbers(&more), [1499, 1500]);
    assert!(grows(&more));
}

#[tokio::test]
async fn lines_in_memory_are_found_although_the_disk_has_none_of_them() {
    let dir = TempDir::new().unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join("api@8000.log")).unwrap();
    let capture = open(dir.path());
    let [mut out, _err] = writers(&capture);
    out.write_all(b"one\ntwo\n").unwrap();
    within(capture.settle()).await;
    let history: Vec<_> = within(capture.history(&Wanted::default())).await.collect();
    assert_eq!(texts(&history), ["one", "two"]);
}

/// What logrotate or an operator does.
#[tokio::test]
async fn a_file_that_somebody_renames_or_replaces_is_begun_anew() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("api@8000.log");
    let capture = open(dir.path());
    let [mut out, _err] = writers(&capture);
    let mut write = async |text: &str| {
        writeln!(out, "{text}").unwrap();
        within(capture.settle()).await;
        within(capture.flush()).await;
    };
    write("one").await;
    fs::rename(&path, dir.path().join("taken")).unwrap();
    write("two").await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    write("three").await;
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("three") && !text.contains("two"), "{text}");
    assert!(fs::read_to_string(dir.path().join("taken")).unwrap().contains("one"));
}

#[test]
fn lines_grow_old_in_two_steps() {
    const HOUR: i64 = 3_600_000_000;
    let dir = TempDir::new().unwrap();
    let files = LogFiles::new(dir.path(), &"api@8000".parse().unwrap());
    let age = Some(Duration::from_secs(3600));
    let keeping = Keeping { age, packing: Packing::Plain, ..Keeping::default() };
    let mut log = LogFile::new(files.clone(), keeping, None);
    let write = |log: &mut LogFile, at| {
        let first = Mark { at, generation: Generation(1) };
        let line =
            format!("{{\"at\":{at},\"generation\":1,\"stream\":\"stdout\",\"text\":\"\"}}\n");
        log.write(line.as_bytes(), Some(Span { first, last: at, lines: 1 }));
    };
    write(&mut log, HOUR);
    write(&mut log, 2 * HOUR);
    log.grow_old(2 * HOUR - 1);
    assert!(files.closed().is_empty());
    log.grow_old(2 * HOUR + 1);
    assert_eq!(files.closed().len(), 1, "its first line is old");
    assert!(!files.current().exists());
    log.grow_old(3 * HOUR);
    assert_eq!(files.closed().len(), 1, "its last line is not yet");
    // A clock that was set back takes nothing away.
    log.grow_old(0);
    assert_eq!(files.closed().len(), 1);
    log.grow_old(3 * HOUR + 1);
    assert!(files.closed().is_empty());
    write(&mut log, 4 * HOUR);
    assert_eq!(files.last(9, &Wanted::default(), i64::MAX).len(), 1);
}
