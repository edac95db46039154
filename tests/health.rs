//! What hangs is found and replaced; what waits for a dependency is left alone.

use std::{fs, io::Write, net::TcpStream, time::Duration};

use aibk::api::{
    explain::{CheckStatus, Explanation},
    types::{InstanceState, InstanceStatus, RolloutState},
};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{LONG, Stage, ends, fetch, kill, load::Plan, venv, wait_for};

/// A stage on which what hangs is found within a few seconds.
fn watched() -> Stage {
    let mut stage = Stage::new();
    let live = json!({"interval": "200ms", "timeout": "1s", "failures": 3});
    stage.settings.set("services.api.live", live);
    stage
}

fn one_slot(stage: &mut Stage) {
    stage.settings.set("services.api.slots", json!([stage.blue]));
}

#[track_caller]
fn explained(stage: &Stage, name: &str) -> Explanation {
    let output = stage.ctl(&["status", "--explain", name, "--json"]).expect(0);
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{output}"))
}

fn asked<'e>(told: &'e Explanation, question: &str) -> &'e CheckStatus {
    told.checks.iter().find(|check| check.question == question).unwrap()
}

#[track_caller]
fn is_replaced(stage: &Stage, before: &InstanceStatus) {
    let after = stage.wait_instance(&before.name, "replaced", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != before.pid
    });
    assert_eq!(after.restarts, 1, "{after:?}");
    ends(before.pid.unwrap(), LONG);
    assert_eq!(stage.answering(), "v1");
}

#[track_caller]
fn is_told(stage: &Stage) {
    let events = stage.ctl(&["events", "-n", "1000"]).expect(0);
    events.says(&["instance.hung", "gives no sign of life"]);
}

#[test]
fn a_stopped_process_is_found_and_replaced() {
    let mut stage = watched();
    one_slot(&mut stage);
    stage.start();
    let before = stage.instance(&stage.blue_name());
    kill(before.pid.unwrap(), Signal::STOP);
    is_replaced(&stage, &before);
    is_told(&stage);
    let told = explained(&stage, &before.name);
    let hung: Vec<_> = asked(&told, "live")
        .answers
        .iter()
        .filter(|answer| Some(answer.generation) == before.generation && !answer.ok)
        .collect();
    assert!(hung.len() >= 3, "{told:?}");
    assert!(hung.iter().all(|answer| answer.took_ms >= 950.0), "{hung:?}");
}

#[test]
fn a_blocked_event_loop_is_found_and_replaced() {
    let mut stage = watched();
    one_slot(&mut stage);
    stage.start();
    let before = stage.instance(&stage.blue_name());
    let mut client = TcpStream::connect(("127.0.0.1", stage.blue)).unwrap();
    client.write_all(b"GET /block HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    is_replaced(&stage, &before);
    is_told(&stage);
}

/// `api` in one slot, on a held socket.
fn held(workers: u16) -> Stage {
    let mut stage = watched();
    one_slot(&mut stage);
    stage.settings.set("services.api.socket", "held");
    stage.settings.set("services.api.workers", json!({"count": workers, "by": "aibkd"}));
    stage.start();
    // One is found waiting for events before any is blamed for not waiting.
    wait_for("live probes", LONG, || {
        let told = explained(&stage, &stage.blue_name());
        (asked(&told, "live").answers.len() > 4).then_some(())
    });
    stage
}

/// The worker with the process `hung` is replaced, the new one before the old one, and no other.
#[track_caller]
fn is_replaced_alone(stage: &Stage, before: &InstanceStatus, hung: i32) {
    let after = stage.wait_instance(&before.name, "whole again", LONG, |seen| {
        seen.state == InstanceState::Ready
            && seen.workers.len() == before.workers.len()
            && seen
                .workers
                .iter()
                .all(|worker| worker.state == InstanceState::Ready && worker.pid != Some(hung))
    });
    ends(hung, LONG);
    assert_eq!(after.restarts, 0, "{after:?}");
    let others = before.workers.iter().filter(|worker| worker.pid != Some(hung));
    for other in others {
        assert!(after.workers.iter().any(|worker| worker.pid == other.pid), "{after:?}");
    }
    let events = stage.ctl(&["events", "-n", "1000"]).expect(0).words();
    let name = |status: &InstanceStatus, is: &dyn Fn(Option<i32>) -> bool| {
        let worker = status.workers.iter().find(|worker| is(worker.pid)).unwrap();
        format!("{}.{}", status.name, worker.name)
    };
    let old = name(before, &|pid| pid == Some(hung));
    let new = name(&after, &|pid| before.workers.iter().all(|worker| worker.pid != pid));
    let at = |what: String| events.find(&what).unwrap_or_else(|| panic!("no `{what}`: {events}"));
    assert!(at(format!("{new} is ready")) < at(format!("{old} is stopping")), "{events}");
}

#[test]
fn what_hangs_on_a_held_socket_is_replaced_and_who_waits_is_answered() {
    let stage = held(1);
    let before = stage.instance(&stage.blue_name());
    let hung = before.pid.unwrap();
    kill(hung, Signal::STOP);
    // It waits at the socket that the next one gets, too.
    let port = stage.public;
    let waiting = std::thread::spawn(move || fetch(port, "/version").unwrap().0);
    is_replaced_alone(&stage, &before, hung);
    assert_eq!(waiting.join().unwrap(), 200);
    is_told(&stage);
}

#[test]
fn one_worker_that_is_stopped_is_replaced_alone() {
    let stage = held(2);
    let before = stage.instance(&stage.blue_name());
    let hung = before.workers[0].pid.unwrap();
    kill(hung, Signal::STOP);
    is_replaced_alone(&stage, &before, hung);
    stage.ctl(&["events", "-n", "1000"]).expect(0).says(&["it is stopped by a signal"]);
    stage.ctl(&["restart", &stage.blue_name()]).expect(0);
    assert_eq!(stage.instance(&stage.blue_name()).workers.len(), 2);
}

#[test]
fn one_worker_whose_event_loop_is_blocked_is_replaced_alone() {
    let stage = held(2);
    let before = stage.instance(&stage.blue_name());
    let mut client = TcpStream::connect(("127.0.0.1", stage.blue)).unwrap();
    client.write_all(b"GET /block HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let blocked = wait_for("the connection to be taken", LONG, || {
        let taken = |pid: i32| sockets_of(pid, stage.blue, client.local_addr().unwrap().port());
        before.workers.iter().filter_map(|worker| worker.pid).find(|pid| taken(*pid))
    });
    is_replaced_alone(&stage, &before, blocked);
}

/// Whether `pid` has the connection from the port `from` to the port `to`.
fn sockets_of(pid: i32, to: u16, from: u16) -> bool {
    let of = |entry: &procfs::net::TcpNetEntry| {
        (entry.local_address.port(), entry.remote_address.port()) == (to, from)
    };
    let Some(entry) = procfs::net::tcp().unwrap().into_iter().find(of) else { return false };
    let process = procfs::process::Process::new(pid).unwrap();
    let targets = process.fd().unwrap().flatten().map(|fd| fd.target);
    targets
        .into_iter()
        .any(|to| matches!(to, procfs::process::FDTarget::Socket(n) if n == entry.inode))
}

#[test]
fn a_dependency_that_is_down_restarts_nothing() {
    let mut stage = watched();
    one_slot(&mut stage);
    let ready = json!({
        "path": "/ready", "expect": "any", "header": "X-Ready: yes", "body": "\"ready\": true",
        "interval": "100ms", "successes": 2, "failures": 2,
    });
    stage.settings.set("services.api.startup", json!({"path": "/health"}));
    stage.settings.set("services.api.ready", ready);
    stage.start();
    let blue = stage.blue_name();
    let before = stage.instance(&blue);
    assert_eq!(before.state, InstanceState::Ready);

    let down = stage.path(&format!("down-{blue}"));
    fs::write(&down, "").unwrap();
    stage.wait_state(&blue, InstanceState::Unready);
    let told = wait_for("an instance that is unready for longer than a hung one is", LONG, || {
        let told = explained(&stage, &blue);
        let lives = asked(&told, "live").answers.iter().all(|answer| answer.ok);
        assert!(lives, "{told:?}");
        (told.since_s > 2.0).then_some(told)
    });
    assert_eq!((told.instance.state, told.instance.pid), (InstanceState::Unready, before.pid));
    let last = &asked(&told, "ready").answers[0];
    assert!(!last.ok && last.said.contains("without x-ready: yes"), "{last:?}");
    assert!(asked(&told, "startup").answers[0].ok);
    let page = stage.ctl(&["status", "--explain", &blue]).expect(0);
    page.says(&["unready for", "is not restarted for this", "GET /ready: any status"]);

    fs::remove_file(&down).unwrap();
    let after = stage.wait_state(&blue, InstanceState::Ready);
    assert_eq!((after.pid, after.restarts), (before.pid, 0));
}

#[test]
fn any_program_is_asked_by_connections_and_commands() {
    let mut stage = watched();
    let (port, broken) = (stage.free_port(), stage.path("broken"));
    let python = venv().join("bin/python");
    let serve = [python.to_str().unwrap(), "-m", "http.server", "--bind", "127.0.0.1", "{port}"];
    stage.add_command("db", &serve);
    let name = format!("db@{port}");
    let check = format!("test $AIBK_INSTANCE = {name} && echo asked {{port}} && ! cat broken");
    let live = json!({"command": ["sh", "-c", check], "interval": "100ms", "failures": 3});
    stage.settings.set("services.db.slots", json!([port]));
    stage.settings.set("services.db.ready", json!({"tcp": true, "deadline": "20s"}));
    stage.settings.set("services.db.live", live);
    stage.start();
    let before = stage.wait_state(&name, InstanceState::Ready);
    let told = wait_for("an answer of the command", LONG, || {
        let told = explained(&stage, &name);
        (!asked(&told, "live").answers.is_empty()).then_some(told)
    });
    let live = &asked(&told, "live").answers[0];
    assert!(live.ok && live.said.contains("broken: No such file"), "{live:?}");
    assert_eq!(asked(&told, "ready").answers[0].said, "connected");

    fs::write(&broken, "out of order\n").unwrap();
    wait_for("the command to be heeded", LONG, || {
        let now = stage.instance(&name);
        (now.pid != before.pid && now.restarts > 0).then_some(())
    });
    fs::remove_file(&broken).unwrap();
    stage.wait_state(&name, InstanceState::Ready);
    let events = stage.ctl(&["events", "-n", "1000"]).expect(0);
    events.says(&["exit status 1: out of order"]);
}

/// Waits until nginx says that it sends requests to `names` and nobody else.
#[track_caller]
fn serves(stage: &Stage, names: &[String]) {
    wait_for(&format!("nginx to serve {names:?}"), LONG, || {
        (stage.serving() == names).then_some(())
    });
}

#[test]
fn a_dependency_that_is_down_takes_traffic_away_and_gives_it_back() {
    let mut stage = watched();
    stage.settings.set("services.api.rollout.standby", "shared");
    let ready = json!({"path": "/ready", "interval": "200ms", "failures": 2, "deadline": "20s"});
    stage.settings.set("services.api.ready", ready);
    stage.start();
    let (blue, green) = (stage.blue_name(), stage.green_name());
    let both = [blue.clone(), green.clone()];
    serves(&stage, &both);
    let before = stage.instance(&blue);
    let load = stage.load_of(Plan::gets(stage.address(), 2));

    let down = stage.path(&format!("down-{blue}"));
    fs::write(&down, "").unwrap();
    serves(&stage, std::slice::from_ref(&green));
    let also = stage.path(&format!("down-{green}"));
    fs::write(&also, "").unwrap();
    stage.wait_state(&green, InstanceState::Unready);
    assert_eq!(stage.serving(), std::slice::from_ref(&green), "the last member stays");
    fs::remove_file(&also).unwrap();
    stage.wait_state(&green, InstanceState::Ready);

    fs::remove_file(&down).unwrap();
    serves(&stage, &both);
    let after = stage.instance(&blue);
    assert_eq!((after.pid, after.restarts), (before.pid, 0));
    let report = load.finish(None).unwrap();
    assert_eq!(report.lost, 0, "{report}");
    let kinds: Vec<_> = stage.rollouts().into_iter().map(|rollout| rollout.kind).collect();
    assert_eq!(kinds[..2], ["restore", "relieve"], "{kinds:?}");
}

/// The one that hung is gone, the other slot serves, and nothing is lost any more.
#[track_caller]
fn is_succeeded(stage: &Stage, before: &InstanceStatus) {
    wait_for("nginx to be seen serving the other slot", LONG, || {
        let steps = stage.rollouts().into_iter().find(|r| r.kind == "replace")?.steps;
        steps.iter().any(|step| step.name == "publish" && step.took_s.is_some()).then_some(())
    });
    serves(stage, &[stage.green_name()]);
    let load = stage.load_of(Plan::gets(stage.address(), 2));
    ends(before.pid.unwrap(), LONG);
    stage.wait_state(&stage.blue_name(), InstanceState::Stopped);
    let rollout = wait_for("the end of the replacement", LONG, || {
        stage.rollouts().into_iter().find(|r| r.kind == "replace" && r.state.ended())
    });
    assert_eq!(rollout.state, RolloutState::Done, "{rollout:?}");
    let report = load.finish(None).unwrap();
    assert_eq!(report.lost, 0, "{report}");
    assert_eq!(stage.answering(), "v1");
}

#[test]
fn what_hangs_is_ended_after_its_successor_serves() {
    let mut stage = watched();
    stage.start();
    let before = stage.instance(&stage.blue_name());
    kill(before.pid.unwrap(), Signal::STOP);
    is_succeeded(&stage, &before);
    let rollouts = stage.rollouts();
    let steps: Vec<_> = rollouts[0].steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["start", "await-ready", "publish", "stop"]);
}

#[test]
fn what_hangs_is_replaced_although_the_daemon_dies_meanwhile() {
    let mut stage = watched();
    stage.start();
    let before = stage.instance(&stage.blue_name());
    kill(before.pid.unwrap(), Signal::STOP);
    stage.wait_instance(&stage.green_name(), "started", LONG, |seen| seen.pid.is_some());
    stage.kill_daemon();
    stage.restart_daemon();
    is_succeeded(&stage, &before);
}

#[test]
fn what_hung_while_there_was_no_daemon_is_replaced() {
    let mut stage = watched();
    stage.start();
    let before = stage.instance(&stage.blue_name());
    stage.kill_daemon();
    kill(before.pid.unwrap(), Signal::STOP);
    stage.restart_daemon();
    is_replaced(&stage, &before);
}

#[test]
fn a_successor_that_does_not_come_up_is_not_waited_for() {
    let mut stage = watched();
    stage.start();
    let before = stage.instance(&stage.blue_name());
    // What is started from now on exits.
    stage.releases.write("v1", "exit");
    kill(before.pid.unwrap(), Signal::STOP);
    // Sooner than its successor would be waited for.
    let soon = Duration::from_secs(30);
    stage.wait_instance(&stage.blue_name(), "ended", soon, |seen| seen.pid != before.pid);
    let undone = stage.rollouts().into_iter().find(|rollout| rollout.kind == "replace").unwrap();
    assert_eq!(undone.state, RolloutState::Undone, "{undone:?}");
    stage.releases.write("v1", "ok");
    ends(before.pid.unwrap(), LONG);
}
