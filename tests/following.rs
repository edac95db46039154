//! What goes on is followed: events, the watched status, progress on a terminal.

use std::{fs, path::Path, process::Command};

use crate::support::{LONG, Running, Stage, children_of, ends, run, wait_for};

/// `aibkctl` as a person runs it: on a terminal, which script(1) makes.
fn on_a_terminal(stage: &Stage, args: &str) -> Command {
    let mut script = Command::new("script");
    let aibkctl = env!("CARGO_BIN_EXE_aibkctl");
    script.args(["-qec", &format!("stty cols 80 rows 24; exec {aibkctl} {args}"), "/dev/null"]);
    script.env("AIBK_SOCKET", stage.socket()).env("TERM", "xterm").env_remove("NO_COLOR");
    script
}

#[track_caller]
fn wait_for_text(log: &Path, text: &str) {
    wait_for(&format!("`{text}`"), LONG, || {
        fs::read_to_string(log).unwrap_or_default().contains(text).then_some(())
    });
}

#[test]
fn events_and_the_status_are_followed_and_a_rollout_shows_its_progress() {
    let stage = Stage::started();
    let (events, screen) = (stage.path("events.out"), stage.path("screen.out"));
    let mut follow = stage.aibkctl(&["events", "-f", "--json"]);
    let _following = Running::start_logged(&mut follow, &events);
    let watching = Running::start_logged(&mut on_a_terminal(&stage, "status --watch"), &screen);
    wait_for_text(&screen, &stage.blue_name());
    wait_for_text(&events, "daemon.up");

    let shown = run(&mut on_a_terminal(&stage, "swap api"), LONG).expect(0);
    assert!(shown.stdout.contains('\u{1b}'), "a terminal shows progress in place: {shown}");
    shown.says(&["publish", "serves from"]);
    wait_for_text(&events, "rollout.ended");
    wait_for_text(&screen, "backup");

    let plain = stage.ctl(&["swap", "api"]).expect(0);
    assert!(!plain.stdout.contains('\u{1b}'), "elsewhere, plain lines: {plain}");
    let watchers = children_of(watching.pid());
    drop(watching);
    // Their terminal is gone, which ends them in their own time.
    for watcher in watchers {
        ends(watcher, LONG);
    }
}
