//! The daemon itself dies, comes twice, or finds state that is not its own.

mod clock;
mod full_pipe;
mod full_store;

use std::{fs, os::unix::net::UnixListener};

use aibk::api::types::{InstanceState, InstanceStatus, RolloutState};
use rustix::process::Signal;

use crate::support::{LONG, Stage, ends, kill, run, wait_for};

#[test]
fn a_second_daemon_is_refused() {
    let stage = Stage::started();
    let mut second = stage.aibkd();
    let output = run(second.env_remove("NOTIFY_SOCKET"), LONG);
    assert!(output.status.is_some_and(|status| status != 0), "{output}");
    output.says(&[&stage.daemon_pid().to_string()]);
    assert_eq!(stage.answering(), "v1");
    stage.ctl(&["status"]).expect(0);
}

#[test]
fn a_stale_control_socket_is_replaced() {
    let mut stage = Stage::new();
    fs::create_dir_all(stage.path("run")).unwrap();
    drop(UnixListener::bind(stage.socket()).unwrap());
    assert!(stage.socket().exists());
    stage.start();
    stage.ctl(&["status"]).expect(0);
}

#[test]
fn without_a_daemon_aibkctl_says_so() {
    let stage = Stage::new();
    stage.ctl(&["status"]).expect(3).says(&["control.sock"]);
}

#[test]
fn instances_outlive_the_daemon_and_are_adopted() {
    let mut stage = Stage::started();
    let load = stage.load();
    let before = stage.instance(&stage.blue_name());
    let master = stage.status().nginx.unwrap().master;
    stage.kill_daemon();
    assert_eq!(stage.answering(), "v1");
    let answered = load.progress().answered;
    wait_for("answers without a daemon", LONG, || {
        (load.progress().answered > answered + 300).then_some(())
    });
    stage.restart_daemon();
    let after = stage.instance(&stage.blue_name());
    assert_eq!((after.pid, after.generation), (before.pid, before.generation));
    assert_eq!((after.state, after.restarts), (InstanceState::Ready, before.restarts));
    assert_eq!(stage.status().nginx.unwrap().master, master);
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!((report.lost, report.reuse_races), (0, 0), "{report}");

    // An adopted one is looked after as any other.
    kill(after.pid.unwrap(), Signal::KILL);
    stage.wait_instance(&stage.blue_name(), "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != after.pid
    });
}

/// A database that is down makes `/health` fail, and is no reason to end what serves.
#[test]
fn an_adopted_instance_that_is_unready_is_left_alone() {
    let mut stage = Stage::started();
    let blue = stage.blue_name();
    let grown = |seen: &InstanceStatus, than: f64| seen.uptime_s.is_some_and(|s| s > than);
    let before = stage.instance(&blue);
    stage.kill_daemon();
    let health = stage.settings.get("services.api.ready.path").clone();
    stage.settings.set("services.api.ready.path", "/nowhere");
    // Its start deadline lies ahead, and it was ready all the same.
    stage.settings.set("services.api.ready.deadline", "5s");
    stage.write_files();
    stage.launch();
    wait_for("the daemon to answer", LONG, || {
        (stage.ctl(&["status"]).status == Some(0)).then_some(())
    });
    let seen = stage.wait_state(&blue, InstanceState::Unready);
    let old = seen.uptime_s.unwrap() + 6.0;
    let after = stage.wait_instance(&blue, "six seconds older", LONG, |seen| grown(seen, old));
    assert_eq!((after.state, after.pid), (InstanceState::Unready, before.pid));

    stage.kill_daemon();
    stage.settings.set("services.api.ready.path", health);
    stage.write_files();
    stage.restart_daemon();
    assert_eq!(stage.wait_state(&blue, InstanceState::Ready).pid, before.pid);
    let events = stage.ctl(&["events"]).expect(0).stdout;
    let last = events.rsplit("goes on as it was").next().unwrap();
    assert!(last.contains("is ready") && !last.contains("is starting"), "{events}");
}

#[test]
fn output_written_without_a_daemon_is_not_lost() {
    let mut stage = Stage::new();
    let script = "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.02; done";
    stage.add_command("worker", &["sh", "-c", script]);
    stage.start();
    stage.kill_daemon();
    let load = stage.load();
    let before = load.progress().answered;
    wait_for("a while", LONG, || (load.progress().answered > before + 200).then_some(()));
    drop(load);
    stage.restart_daemon();
    let logs = wait_for("lines after the gap", LONG, || {
        let output = stage.ctl(&["logs", "-n", "10000", "worker"]).expect(0);
        (output.stdout.lines().count() > 60).then_some(output.stdout)
    });
    let numbers: Vec<u64> =
        logs.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    let whole = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(whole, "lines are missing or out of order: {numbers:?}");
}

#[test]
fn what_died_meanwhile_is_started_again() {
    let mut stage = Stage::started();
    let before = stage.instance(&stage.blue_name());
    stage.kill_daemon();
    kill(before.pid.unwrap(), Signal::KILL);
    ends(before.pid.unwrap(), LONG);
    stage.restart_daemon();
    let after = stage.wait_state(&stage.blue_name(), InstanceState::Ready);
    assert!(after.generation > before.generation);
    assert_eq!(stage.answering(), "v1");
    let told = stage.ctl(&["events"]).expect(0).stdout;
    // Who reaps it is not ours to say; its zombie tells how it ended.
    let ways = ["ended while no aibkd ran", "was killed by signal 9"];
    assert!(ways.iter().any(|way| told.contains(way)), "{told}");
}

/// Another process has the pid that the store knows, as after many others.
#[test]
fn a_pid_that_is_anothers_now_is_not_adopted() {
    let mut stage = Stage::new();
    stage.add_command("worker", &["sleep", "1000"]);
    stage.start();
    let before = stage.instance("worker");
    stage.kill_daemon();
    kill(before.pid.unwrap(), Signal::KILL);
    ends(before.pid.unwrap(), LONG);
    let own = std::process::id();
    let db = rusqlite::Connection::open(stage.path("state/aibk.db")).unwrap();
    let other = format!("json_set(identity, '$.pid', {own})");
    let changed = format!("UPDATE slots SET identity = {other} WHERE instance = 'worker'");
    assert_eq!(db.execute(&changed, []).unwrap(), 1);
    drop(db);
    stage.restart_daemon();
    let after = stage.wait_state("worker", InstanceState::Ready);
    assert!(after.pid.is_some_and(|pid| pid.cast_unsigned() != own), "{after:?}");
    assert!(after.generation > before.generation);
}

#[test]
fn which_colour_is_live_survives_the_daemon() {
    let mut stage = Stage::started();
    stage.ctl(&["swap", "api"]).expect(0);
    stage.kill_daemon();
    stage.restart_daemon();
    assert_eq!(stage.serving(), [stage.green_name()]);
    stage.stop_daemon();
    stage.restart_daemon();
    assert_eq!(stage.serving(), [stage.green_name()]);
}

#[test]
fn state_of_a_newer_version_is_kept() {
    let mut stage = Stage::started();
    stage.stop_daemon();
    let path = stage.path("state/aibk.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 9999).unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    let output = run(stage.aibkd().env_remove("NOTIFY_SOCKET"), LONG);
    assert!(output.status.is_some_and(|status| status != 0), "{output}");
    output.says(&["aibk.db", "9999"]);
    assert_eq!(fs::read(&path).unwrap(), before, "it is left as it is");
}

#[test]
fn damaged_state_is_kept() {
    let mut stage = Stage::started();
    stage.stop_daemon();
    let path = stage.path("state/aibk.db");
    for beside in ["state/aibk.db-wal", "state/aibk.db-shm"] {
        let _ = fs::remove_file(stage.path(beside));
    }
    fs::write(&path, b"this is no database").unwrap();
    let output = run(stage.aibkd().env_remove("NOTIFY_SOCKET"), LONG);
    assert!(output.status.is_some_and(|status| status != 0), "{output}");
    output.says(&["aibk.db"]);
    assert_eq!(fs::read(&path).unwrap(), b"this is no database");
}

#[test]
fn a_rollout_cut_by_the_death_of_the_daemon_ends() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.drain.deadline", "2s");
    stage.settings.set("services.api.stop.deadline", "6s");
    stage.start();
    stage.releases.write("v2", "ok");
    let load = stage.load();
    let steps = ["start", "await-ready", "publish", "watch", "drain", "stop"];
    for (n, step) in steps.into_iter().enumerate() {
        let next = if stage.answering() == "v1" { "v2" } else { "v1" };
        stage.releases.set_current(next);
        stage.ctl(&["rolling", "api", "--no-wait"]).expect(0);
        let id = stage.wait_step(step).id;
        stage.kill_daemon();
        stage.restart_daemon();
        let output = stage.ctl(&["wait", &id.to_string()]);
        let rollout = stage.rollouts().into_iter().find(|rollout| rollout.id == id).unwrap();
        let previous = if next == "v1" { "v2" } else { "v1" };
        let expected = match rollout.state {
            RolloutState::Done => next,
            RolloutState::Undone => previous,
            other => panic!("killed at {step} ({n}): {other:?}\n{output}"),
        };
        assert_eq!(stage.answering(), expected, "killed at {step}");
        assert_eq!(stage.serving().len(), 1, "killed at {step}");
    }
    let report = load.finish(Some(&stage.executed())).unwrap();
    println!("{report}");
    assert_eq!(report.lost, 0, "{report}");
}

#[test]
fn a_configuration_with_mistakes_is_refused() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.workerz", 2);
    stage.write_files();
    let output = run(stage.aibkd().env_remove("NOTIFY_SOCKET"), LONG);
    assert!(output.status.is_some_and(|status| status != 0), "{output}");
    output.says(&["aibk.yaml", "workerz", "workers"]);
    let path = stage.path("aibk.yaml");
    let checked = stage.ctl(&["config", "check", path.to_str().unwrap()]);
    assert!(checked.status.is_some_and(|status| status != 0), "{checked}");
    checked.says(&["workerz", "workers"]);
}

#[test]
fn a_rollout_that_cannot_be_read_stops_nobody_else() {
    let mut stage = Stage::new();
    stage.add_command("worker", &["sleep", "1000"]);
    stage.start();
    stage.stop_daemon();
    let db = rusqlite::Connection::open(stage.path("state/aibk.db")).unwrap();
    let row = "INSERT INTO rollouts (service, document, ended) VALUES ('worker', '{', 0)";
    db.execute(row, []).unwrap();
    drop(db);
    stage.restart_daemon();
    assert_eq!(stage.answering(), "v1");
    stage.ctl(&["events"]).expect(0).says(&["rollout.unreadable"]);
    stage.ctl(&["swap", "api"]).expect(0);
    let refused = stage.ctl(&["restart", "worker"]);
    assert_eq!(refused.status, Some(4), "its service is held: {refused}");
}

#[test]
fn a_daemon_that_cannot_come_up_is_not_ready_and_ends() {
    let mut stage = Stage::started();
    let before = stage.instance(&stage.blue_name());
    stage.kill_daemon();
    let path = stage.path("state/aibk.db");
    let rename = |from: &str, to: &str| {
        let db = rusqlite::Connection::open(&path).unwrap();
        let sql = format!("ALTER TABLE rollouts RENAME COLUMN {from} TO {to}");
        db.execute(&sql, []).unwrap();
    };
    rename("document", "gone");
    stage.launch();
    wait_for("the daemon to give up", LONG, || (!stage.daemon_goes_on()).then_some(()));
    let said = stage.notified();
    assert!(!said.iter().any(|line| line == "READY=1"), "{said:?}");
    let told = said.iter().any(|line| line.starts_with("STATUS=cannot come up: "));
    assert!(told, "{said:?}");
    stage.bury_daemon();
    assert_eq!(stage.answering(), "v1");
    rename("gone", "document");
    stage.restart_daemon();
    assert_eq!(stage.instance(&stage.blue_name()).pid, before.pid, "it was left alone");
}
