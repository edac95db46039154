//! Children that do what children should not.

use std::fs;

use aibk::api::types::{InstanceState, LogLine};
use rustix::process::Signal;

use crate::support::{LONG, Stage, is_alive, kill, wait_for};

fn stage(name: &str, argv: &[&str]) -> Stage {
    let mut stage = Stage::new();
    stage.settings.remove("services.api").remove("nginx");
    stage.add_command(name, argv);
    stage.start();
    stage.wait_state(name, InstanceState::Ready);
    stage
}

fn pid_in(stage: &Stage, name: &str) -> i32 {
    wait_for("a pid", LONG, || fs::read_to_string(stage.path(name)).ok()?.trim().parse().ok())
}

#[test]
fn one_that_forks_twice_and_leaves_its_session_is_stopped_whole() {
    let script = "trap '' TERM; \
        (setsid sh -c 'trap \"\" TERM; echo $$ >grandchild; exec sleep 100000' &) ; \
        until [ -s grandchild ]; do sleep 0.01; done; exec sleep 100001";
    let stage = stage("daemonizer", &["sh", "-c", script]);
    let (parent, grandchild) =
        (stage.instance("daemonizer").pid.unwrap(), pid_in(&stage, "grandchild"));
    assert!(is_alive(parent) && is_alive(grandchild));
    // The same when it dies by itself: nothing of it is left beside the next one.
    fs::remove_file(stage.path("grandchild")).unwrap();
    kill(parent, Signal::KILL);
    let next = stage.wait_instance("daemonizer", "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != Some(parent)
    });
    assert!(!is_alive(grandchild));
    let grandchild = pid_in(&stage, "grandchild");
    stage.ctl(&["stop", "daemonizer"]).expect(0);
    assert!(!is_alive(next.pid.unwrap()) && !is_alive(grandchild));
}

#[test]
fn one_that_closes_its_output_lives_on_and_is_not_waited_for() {
    let script = "echo before; exec >&- 2>&-; echo nowhere; : >closed; exec sleep 100000";
    let stage = stage("silent", &["sh", "-c", script]);
    wait_for("it to close its output", LONG, || stage.path("closed").exists().then_some(()));
    let seen = stage.instance("silent");
    assert_eq!((seen.state, seen.restarts), (InstanceState::Ready, 0));
    stage.ctl(&["logs", "silent"]).expect(0).says(&["before"]);
    stage.ctl(&["restart", "silent"]).expect(0);
    let again = stage.ctl(&["logs", "silent"]).expect(0).stdout;
    assert_eq!(again.matches("before").count(), 2, "{again}");
}

#[test]
fn one_that_writes_binary_is_kept_in_lines() {
    // Every byte there is, some of it as one long line, and a line after it.
    let script = "import os, sys, time
os.write(1, bytes(range(256)) * 4 + b'\\n' + b'\\xff\\x00' * 40000 + b'\\nafter\\n')
time.sleep(100000)";
    let stage = stage("binary", &["python3", "-c", &script.replace('\n', ";")]);
    let lines = wait_for("the line after it", LONG, || {
        let shown = stage.ctl(&["logs", "--json", "binary"]).expect(0).stdout;
        let lines: Vec<LogLine> =
            shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines.last()?.text == "after").then_some(lines)
    });
    assert!(lines.iter().any(|line| line.text.contains("\u{fffd}\0\u{fffd}\0")));
    assert!(lines.iter().any(|line| line.text.contains("63616 more bytes of this line were left")));
    // A terminal gets none of what would steer it.
    let shown = stage.ctl(&["logs", "binary"]).expect(0).stdout;
    let steers = |c: &char| c.is_control() && *c != '\n' && *c != '\t';
    assert_eq!(shown.chars().find(steers), None, "{shown:?}");
}
