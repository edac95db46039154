//! Output on its way from a pipe to the log: how much a processor gets through, and how much is
//! dropped at full speed.
//!
//! A service writes a file of lines to its standard output as fast as it can. Floors: cat(1) of the
//! same file into another one, and through a pipe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    clippy::missing_errors_doc,
    missing_docs,
    unreachable_pub,
    reason = "it fails by panicking, and nobody reads its interface elsewhere"
)]

#[allow(dead_code, unused_imports, reason = "a benchmark needs a part of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use aibk::api::types::LogLine;
use serde_json::json;
use support::{LONG, Stage, wait_for};

const ROUNDS: usize = 3;
const LINES: usize = 1_500_000;
const WAITS: &str =
    "until [ -e \"$0/go\" ]; do sleep 0.01; done; cat \"$0/input\"; echo the end; exec sleep 1000";

fn main() {
    let mut floor = Round::default();
    let mut piped = Round::default();
    let mut plain = Round::default();
    let mut packed = Round::default();
    for _ in 0..ROUNDS {
        floor.best(cat("exec cat \"$0/input\" >\"$0/copy\""));
        piped.best(cat("cat \"$0/input\" | exec cat >\"$0/copy\""));
        plain.best(aibkd("1GiB", false));
        packed.best(aibkd("10MiB", true));
    }
    println!("capture: {LINES} lines of 100 bytes, the best of {ROUNDS} rounds\n");
    println!("{:<38}{:>9}{:>10}{:>8}{:>9}", "", "MB/s", "per core", "ratio", "dropped");
    floor.show("floor: cat into a file", &floor);
    piped.show("floor: cat through a pipe into a file", &floor);
    plain.show("aibkd, one file", &floor);
    packed.show("aibkd, files of 10 MiB, compressed", &floor);
}

/// What one run took.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    took: Duration,
    /// Of all threads together; where it is one thread that never waits, as long as it took.
    processor: Duration,
    dropped: u64,
}

impl Round {
    fn best(&mut self, next: Self) {
        if self.processor.is_zero() || next.processor < self.processor {
            *self = next;
        }
    }

    fn show(&self, what: &str, floor: &Self) {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let megabytes = (LINES * 100) as f64 / 1e6;
        let (all, core) =
            (megabytes / self.took.as_secs_f64(), megabytes / self.processor.as_secs_f64());
        let ratio = self.processor.as_secs_f64() / floor.processor.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let dropped = self.dropped as f64 * 100.0 / LINES as f64;
        println!("{what:<38}{all:>9.0}{core:>10.0}{ratio:>8.1}{dropped:>8.1}%");
    }
}

fn input(dir: &Path) {
    let mut file = std::io::BufWriter::new(fs::File::create(dir.join("input")).unwrap());
    for n in 0..LINES {
        let text =
            "INFO:     127.0.0.1:51234 - \"GET /api/v1/books HTTP/1.1\" 200 OK, and more of it";
        writeln!(file, "{n:>9} {text:<89}").unwrap();
    }
    file.flush().unwrap();
}

fn cat(script: &str) -> Round {
    let dir = tempfile::TempDir::new().unwrap();
    input(dir.path());
    let began = Instant::now();
    assert!(Command::new("sh").args(["-c", script]).arg(dir.path()).status().unwrap().success());
    let took = began.elapsed();
    Round { took, processor: took, dropped: 0 }
}

fn aibkd(size: &str, compress: bool) -> Round {
    let mut stage = Stage::new();
    stage.settings.remove("services.api").remove("nginx");
    stage.settings.set("logs", json!({"size": size, "compress": compress}));
    let dir = stage.path("");
    stage.add_command("flood", &["sh", "-c", WAITS, dir.to_str().unwrap()]);
    input(&dir);
    stage.start();
    let before = processor(stage.daemon_pid());
    let began = Instant::now();
    fs::write(stage.path("go"), "").unwrap();
    wait_for("the end of the flood", LONG, || {
        tail(&stage.path("log/flood.log")).contains("the end").then_some(())
    });
    let took = began.elapsed();
    let processor = processor(stage.daemon_pid()).saturating_sub(before);
    let mut notices = stage.aibkctl(&["logs", "--json", "--grep", r"^\[aibk: ", "flood"]);
    let notices = support::run(&mut notices, LONG).expect(0).stdout;
    let dropped = notices.lines().map(|line| {
        let line: LogLine = serde_json::from_str(line).unwrap();
        let words = line.text.strip_prefix("[aibk: ").unwrap_or_default();
        words.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    });
    Round { took, processor, dropped: dropped.sum() }
}

fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = fs::File::open(path) {
        let size = file.seek(SeekFrom::End(0)).unwrap_or(0);
        let _ = file.seek(SeekFrom::Start(size.saturating_sub(400)));
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What all its threads have had of the processors, those that have ended too.
fn processor(pid: i32) -> Duration {
    let stat = procfs::process::Process::new(pid).and_then(|seen| seen.stat()).expect("the daemon");
    Duration::from_millis((stat.utime + stat.stime) * 1000 / procfs::ticks_per_second())
}
