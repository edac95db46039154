//! The runtime directory is removed under the daemon: clients notice nothing, nothing is lost, and all
//! of it is there again at once.

use std::{fs, os::unix::fs::PermissionsExt};

use aibk::api::types::{InstanceState, LogLine};
use rustix::process::Signal;

use crate::support::{LONG, Stage, kill, load::Plan, wait_for};

const TICKS: &str = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done";

const TOLD: [&str; 4] = [
    "run was removed, and is there again",
    "control socket was removed",
    "FIFOs of 4 instances",
    "proof socket",
];

/// What `ticker` wrote in its present life, as the log has it.
fn ticks(stage: &Stage) -> Vec<u64> {
    let output = stage.ctl(&["logs", "--json", "-n", "10000", "ticker"]).expect(0).stdout;
    let lines: Vec<LogLine> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap().generation;
    let now = lines.iter().filter(|line| line.generation == last);
    now.map(|line| line.text.parse().unwrap()).collect()
}

/// Waits for more of them; each is there once.
#[track_caller]
fn ticks_on(stage: &Stage) {
    let before = ticks(stage).len();
    wait_for("output", LONG, || (ticks(stage).len() > before + 5).then_some(()));
    let seen = ticks(stage);
    let expected: Vec<u64> = (1..).take(seen.len()).collect();
    assert_eq!(seen, expected);
}

/// All at once: what is made again while one thing after the other goes is another story each time.
fn remove(stage: &Stage) {
    let gone = stage.path("gone");
    fs::rename(stage.path("run"), &gone).unwrap();
    fs::remove_dir_all(gone).unwrap();
}

#[track_caller]
fn is_mended(stage: &Stage) {
    wait_for("an answer", LONG, || (stage.ctl(&["status"]).status == Some(0)).then_some(()));
    wait_for("nginx to be asked again", LONG, || {
        let nginx = stage.status().nginx.unwrap();
        (nginx.answers && nginx.problem.is_none()).then_some(())
    });
}

fn pids(stage: &Stage) -> Vec<Option<i32>> {
    let names = [stage.blue_name(), stage.green_name(), "ticker".to_owned(), "nginx".to_owned()];
    names.iter().map(|name| stage.instance(name).pid).collect()
}

#[test]
fn the_runtime_directory_is_removed_under_the_daemon() {
    let mut stage = Stage::new();
    stage.settings.set("nginx.pid_file", stage.path("run/nginx.pid").to_str().unwrap());
    stage.add_command("ticker", &["sh", "-c", TICKS]);
    stage.write_files();
    let conf = fs::read_to_string(stage.path("nginx.conf")).unwrap();
    let pid = stage.path("run/nginx.pid");
    let moved = conf.replace(stage.path("nginx.pid").to_str().unwrap(), pid.to_str().unwrap());
    fs::write(stage.path("nginx.conf"), moved).unwrap();
    stage.restart_daemon();
    stage.ctl(&["swap", "api"]).expect(0);
    let load = stage.load_of(Plan::gets(stage.address(), 2));
    let before = pids(&stage);

    remove(&stage);
    is_mended(&stage);
    let mode = fs::metadata(stage.path("run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o750);
    assert_eq!(pids(&stage), before);
    assert_eq!(stage.serving(), [stage.green_name()]);
    wait_for("all of it to be told", LONG, || {
        let events = stage.ctl(&["events"]).expect(0).stdout;
        TOLD.iter().all(|told| events.contains(told)).then_some(())
    });
    ticks_on(&stage);
    stage.ctl(&["swap", "api"]).expect(0);
    assert_eq!(stage.serving(), [stage.blue_name()]);
    stage.ctl(&["swap", "api"]).expect(0);

    // The next daemon reads on what has no name, and so does one that finds nothing at all.
    stage.kill_daemon();
    stage.restart_daemon();
    ticks_on(&stage);
    stage.kill_daemon();
    remove(&stage);
    stage.restart_daemon();
    is_mended(&stage);
    ticks_on(&stage);
    assert_eq!(pids(&stage), before);
    assert_eq!(stage.serving(), [stage.green_name()]);
    let report = load.finish(None).unwrap();
    assert_eq!(report.lost, 0, "{report}");

    // What is started from now on is heard as ever.
    let old = stage.instance("ticker").pid;
    kill(old.unwrap(), Signal::KILL);
    stage.wait_instance("ticker", "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != old
    });
    ticks_on(&stage);
}
