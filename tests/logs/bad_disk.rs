//! The disk of the logs is full, or hangs: nobody waits for it, and what it costs is told.

use std::{
    fs,
    io::{BufRead, BufReader},
};

use aibk::api::types::{InstanceState, LogLine};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};

use crate::support::{LONG, SmallDisk, Stage, wait_for};

fn stage() -> Stage {
    let mut stage = Stage::new();
    stage.settings.remove("services.api").remove("nginx");
    stage
}

/// For how many lines a line stands that says that they are missing.
fn missing(text: &str) -> Option<u64> {
    text.strip_prefix("[aibk: ")?.split(' ').next()?.parse().ok()
}

#[test]
fn a_full_disk_is_told_and_written_again_once_there_is_room() {
    let disk = SmallDisk::new(512);
    let mut stage = stage();
    stage.settings.set("log_dir", disk.path().to_str().unwrap());
    stage.settings.set("logs", json!({"size": "64KiB", "keep": 2}));
    let script = "n=0; while :; do n=$((n+1)); echo \"line $n\"; sleep 0.001; done";
    stage.add_command("chatty", &["sh", "-c", script]);
    stage.start();
    let before = stage.wait_state("chatty", InstanceState::Ready);
    disk.fill();
    let log = |stage: &Stage| fs::read_to_string(stage.path("daemon.log")).unwrap();
    wait_for("the daemon to tell", LONG, || {
        log(&stage).contains("cannot write a log").then_some(())
    });
    // It is told once, and what is in memory can be read all the same.
    let newest = |stage: &Stage| {
        let shown = stage.ctl(&["logs", "--json", "-n", "1", "chatty"]).expect(0).stdout;
        serde_json::from_str::<LogLine>(shown.lines().last().unwrap()).unwrap().text
    };
    let seen = newest(&stage);
    wait_for("newer lines", LONG, || (newest(&stage) != seen).then_some(()));
    assert_eq!(log(&stage).matches("cannot write a log").count(), 1);

    disk.make_room();
    wait_for("the daemon to tell", LONG, || log(&stage).contains("is written again").then_some(()));
    stage.ctl(&["stop", "chatty"]).expect(0);
    let all = stage.ctl(&["logs", "--json", "--since", "1h", "chatty"]).expect(0).stdout;
    let lines: Vec<LogLine> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines.iter().any(|line| missing(&line.text).is_some()),
        "nothing is told to be missing"
    );
    // Every line is there, or counted.
    let mut next = None;
    for line in &lines {
        if let Some(missing) = missing(&line.text) {
            next = next.map(|next: u64| next + missing);
        } else {
            let number: u64 = line.text.strip_prefix("line ").unwrap().parse().unwrap();
            assert!(next.is_none_or(|next| next == number), "{next:?} was expected: {line:?}");
            next = Some(number + 1);
        }
    }
    assert_eq!(before.generation, stage.instance("chatty").generation, "it was never restarted");
}

/// Lines of its own; together far more than may wait for the disk.
const LINES: u64 = 60_000;

#[test]
fn a_disk_that_hangs_holds_nobody_up_and_each_dropped_line_is_counted() {
    let mut stage = stage();
    let script = "until [ -e go ]; do sleep 0.02; done; \
                  seq -f 'line %.0f of them' 1 60000; : >over; exec sleep 1000";
    stage.add_command("flood", &["sh", "-c", script]);
    stage.add_command("other", &["sh", "-c", "echo here; exec sleep 1000"]);
    stage.start();
    stage.wait_state("flood", InstanceState::Ready);
    // Where its log is to be, once it has a line, is a pipe, which takes 64 KiB and then makes the
    // writer wait.
    let log = stage.path("log/flood.log");
    mkfifoat(CWD, &log, Mode::RUSR | Mode::WUSR).unwrap();
    fs::write(stage.path("go"), "").unwrap();
    wait_for("the flood to be over", LONG, || stage.path("over").exists().then_some(()));
    // The disk still hangs; what needs none goes on.
    let last = wait_for("the last line", LONG, || {
        let shown = stage.ctl(&["logs", "--json", "-n", "1", "flood"]).expect(0).stdout;
        Some(shown).filter(|shown| shown.contains("line 60000 of them"))
    });
    assert_eq!(last.lines().count(), 1);
    stage.ctl(&["status"]).expect(0);
    let killed = stage.instance("other");
    crate::support::kill(killed.pid.unwrap(), rustix::process::Signal::KILL);
    stage.wait_instance("other", "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != killed.pid
    });

    // It answers again.
    let (told, heard) = std::sync::mpsc::channel();
    let pipe = fs::File::open(&log).unwrap();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
        let (mut written, mut dropped) = (0, 0);
        while written + dropped < LINES {
            let Some(line) = lines.next() else { return };
            let line: Value = serde_json::from_str(&line).unwrap();
            match missing(line["text"].as_str().unwrap()) {
                Some(missing) => dropped += missing,
                None => written += 1,
            }
        }
        let _ = told.send((written, dropped));
    });
    let (written, dropped) = heard.recv_timeout(LONG).expect("every line, or a line about it");
    assert_eq!(written + dropped, LINES);
    assert!(dropped > 1000 && written > 1000, "{written} written, {dropped} dropped");
    fs::remove_file(&log).unwrap();
}
