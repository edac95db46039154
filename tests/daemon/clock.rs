//! The host's clock is set, forth and back, while the daemon runs. A small library, preloaded into
//! the daemon alone, stands for that: the clock of the host is not ours to set.

use std::{fs, process::Command};

use aibk::api::types::{InstanceState, LogLine};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{LONG, Running, Stage, kill, root, run, wait_for};

const DAY: i64 = 24 * 60 * 60;

/// Sets the clock of the daemon off by so many seconds; in one step.
fn set(stage: &Stage, seconds: i64) {
    let new = stage.path("clock.new");
    fs::write(&new, seconds.to_ne_bytes()).unwrap();
    fs::rename(new, stage.path("clock")).unwrap();
}

/// A daemon whose clock can be set.
fn launch(stage: &Stage) -> Running {
    let mut aibkd = stage.aibkd();
    aibkd.env("LD_PRELOAD", stage.path("clock.so")).env("TEST_CLOCK", stage.path("clock"));
    let daemon = Running::start_logged(&mut aibkd, &stage.path("daemon.log"));
    wait_for("the daemon to answer", LONG, || {
        (stage.ctl(&["version"]).status == Some(0)).then_some(())
    });
    daemon
}

fn numbers(lines: &[LogLine]) -> Vec<u64> {
    lines.iter().filter_map(|line| line.text.strip_prefix("line ")?.parse().ok()).collect()
}

fn lines(stage: &Stage) -> Vec<LogLine> {
    let shown = stage.ctl(&["logs", "--json", "-n", "10000", "worker"]).expect(0).stdout;
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_clock_that_is_set_forth_and_back_disturbs_nothing() {
    let mut stage = Stage::new();
    stage.settings.remove("services.api").remove("nginx");
    stage.settings.set("logs", json!({"size": "64KiB", "keep": 50}));
    let script = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.005; done";
    stage.add_command("worker", &["sh", "-c", script]);
    stage.add_command("other", &["sleep", "100000"]);
    let (source, library) = (root().join("tests/support/clock.c"), stage.path("clock.so"));
    let mut cc = Command::new("cc");
    run(cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source), LONG).expect(0);
    set(&stage, 0);
    stage.write_files();
    let mut daemon = launch(&stage);
    let before = stage.wait_state("worker", InstanceState::Ready);

    let mut restarts = 0;
    for off in [DAY, -2 * DAY, 3600] {
        set(&stage, off);
        let seen = lines(&stage).len();
        wait_for("more lines", LONG, || (lines(&stage).len() > seen + 50).then_some(()));
        // What dies is back at once, whatever the clock says.
        let killed = stage.wait_state("other", InstanceState::Ready);
        kill(killed.pid.unwrap(), Signal::KILL);
        restarts += 1;
        let back = stage.wait_instance("other", "back", LONG, |seen| {
            seen.state == InstanceState::Ready && seen.pid != killed.pid
        });
        assert_eq!(back.restarts, restarts);
        assert!(back.uptime_s.is_some_and(|uptime| (0.0..60.0).contains(&uptime)), "{back:?}");
    }
    // Also for the daemon after this one, which begins in the past.
    set(&stage, -DAY);
    kill(daemon.pid(), Signal::KILL);
    daemon.status(LONG);
    let mut daemon = launch(&stage);
    let seen = stage.wait_state("worker", InstanceState::Ready);
    assert_eq!((seen.pid, seen.restarts), (before.pid, 0));
    let known = lines(&stage).len();
    wait_for("more lines", LONG, || (lines(&stage).len() > known + 50).then_some(()));

    let all = lines(&stage);
    assert!(all.is_sorted_by(|a, b| a.at < b.at), "lines are in the order of their times");
    let numbers = numbers(&all);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    let events = stage.ctl(&["events", "--json", "-n", "1000"]).expect(0).stdout;
    let ids =
        events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64());
    assert!(ids.is_sorted_by(|a, b| a.is_some() && a < b), "{events}");
    kill(daemon.pid(), Signal::TERM);
    assert!(daemon.status(LONG).success());
}
