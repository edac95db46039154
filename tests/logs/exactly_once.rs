//! The daemon is killed while output goes through it: every line is in the log, once, in order.

use std::{fs, path::Path};

use aibk::api::types::LogLine;
use serde_json::json;

use crate::support::{LONG, Stage, run, wait_for};

const KILLS: u32 = 40;

/// Numbers on both streams, faster than the daemon reads them now and then.
const COUNTING: &str = "n=0; while :; do \
    for i in 0 1 2 3 4 5 6 7 8 9 a b c d e f g h i j k l m n o p q r s t; do \
        n=$((n+1)); echo \"out $n of them\"; echo \"err $n\" >&2; \
    done; sleep 0.002; done";

/// Bytes in all files of a log.
fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap().flatten();
    let ours = files.filter(|file| file.file_name().to_string_lossy().starts_with("counter.log"));
    // One may be closed, and so called otherwise, between two looks.
    ours.filter_map(|file| file.metadata().ok()).map(|seen| seen.len()).sum()
}

/// The numbers of one stream grow by one; where they do not, a line says how many are missing,
/// because the disk was too slow for a moment.
fn all_once(lines: &[LogLine], stream: &str) -> u64 {
    let mut last = 0;
    let mut told = 0;
    for line in lines.iter().filter(|line| line.stream == stream || line.text.starts_with('[')) {
        if let Some(missing) = line.text.strip_prefix("[aibk: ") {
            told += missing.split(' ').next().unwrap().parse::<u64>().unwrap();
            continue;
        }
        let number: u64 = line.text.split(' ').nth(1).unwrap().parse().unwrap();
        let missing = number.checked_sub(last + 1);
        assert!(missing.is_some_and(|n| n <= told), "{number} after {last}, {told} told: {line:?}");
        told -= missing.unwrap_or(0);
        last = number;
    }
    last
}

#[test]
fn deaths_of_the_daemon_lose_and_double_no_line() {
    let mut stage = Stage::new();
    stage.settings.remove("services.api").remove("nginx");
    stage.settings.set("logs", json!({"size": "256KiB", "keep": 1000, "compress": false}));
    stage.add_command("counter", &["sh", "-c", COUNTING]);
    stage.start();
    for n in 0..KILLS {
        let grown = size(&stage.path("log")) + u64::from(n) * 1000 + 1;
        wait_for("some more lines", LONG, || (size(&stage.path("log")) >= grown).then_some(()));
        stage.kill_daemon();
        stage.launch();
    }
    stage.kill_daemon();
    for point in ["capture.begun", "capture.written"] {
        for nth in [1, 2, 7] {
            stage.launch();
            stage.die_at(&format!("{point}:{nth}"));
            wait_for("the daemon's death", LONG, || (!stage.daemon_goes_on()).then_some(()));
            stage.bury_daemon();
        }
    }
    stage.restart_daemon();
    stage.ctl(&["stop", "counter"]).expect(0);
    let mut all = stage.aibkctl(&["logs", "--json", "--since", "1h", "counter"]);
    let lines: Vec<LogLine> = run(&mut all, LONG)
        .expect(0)
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.is_sorted_by(|a, b| a.at < b.at));
    let (out, err) = (all_once(&lines, "stdout"), all_once(&lines, "stderr"));
    assert!(out > 1000 && out.abs_diff(err) <= 1, "{out} and {err} lines");
    assert_eq!(lines.iter().filter(|line| line.text.starts_with("out")).count() as u64, out);
}
