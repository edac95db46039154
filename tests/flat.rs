//! What the daemon itself takes does not grow with what happens.

use std::fs;

use aibk::api::types::{InstanceState, InstanceStatus};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{LONG, Stage, kill, wait_for};

const RESTARTS: u32 = 1000;
/// Its memory may vary; a leak of a KiB at each restart is more than this.
const GROWTH_KIB: u64 = 640;

/// What it takes while nothing goes on.
#[derive(Debug, Clone, Copy)]
struct Taken {
    descriptors: usize,
    threads: usize,
    /// Memory of its own (proc(5): `Anonymous` of `smaps_rollup`).
    kib: u64,
}

impl Taken {
    fn by(pid: i32) -> Self {
        let count = |what| fs::read_dir(format!("/proc/{pid}/{what}")).expect("a process").count();
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a process");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        Self { descriptors: count("fd"), threads: count("task"), kib: kib.expect("its memory") }
    }
}

#[test]
fn a_thousand_restarts_leave_nothing_behind() {
    let mut stage = Stage::new();
    stage.settings.remove("services.api").remove("nginx");
    stage.add_command("quick", &["sh", "-c", "echo it runs; test -e stay && exec sleep 1000"]);
    let no_pause = json!({
        "delay": "1ms", "factor": 1, "cap": "1ms", "limit": 1000, "window": "100ms",
    });
    stage.settings.set("services.quick.restart", no_pause);
    stage.settings.set("services.quick.ready", json!({"alive": "100ms"}));
    fs::write(stage.path("stay"), "").expect("a file");
    stage.start();
    // What is kept of the past is full by then: last lines, answers, events to be told.
    let before = at_rest_after(&stage, RESTARTS / 3);
    let after = at_rest_after(&stage, RESTARTS);
    assert!(after.kib <= before.kib + GROWTH_KIB, "{before:?}, {after:?}");
    // Threads that wait for work end when there is none for ten seconds.
    wait_for("descriptors and threads to be as before", LONG, || {
        let now = Taken::by(stage.daemon_pid());
        (now.descriptors <= before.descriptors && now.threads <= before.threads).then_some(())
    });
}

/// What the daemon takes once it has restarted it so many times more, and nothing goes on.
fn at_rest_after(stage: &Stage, times: u32) -> Taken {
    let stay = stage.path("stay");
    let begun = stage.instance("quick");
    let _ = fs::remove_file(&stay);
    kill(begun.pid.expect("it stays"), Signal::KILL);
    let often = |seen: &InstanceStatus| seen.restarts >= begun.restarts + times;
    stage.wait_instance("quick", "restarted often", LONG, often);
    fs::write(&stay, "").expect("a file");
    stage.wait_state("quick", InstanceState::Ready);
    // It is written down, and the connection that asked is closed, a moment later.
    let mut last = Taken::by(stage.daemon_pid());
    wait_for("the daemon to come to rest", LONG, || {
        let now = Taken::by(stage.daemon_pid());
        let rests = now.descriptors == last.descriptors;
        last = now;
        rests.then_some(now)
    })
}
