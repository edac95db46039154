//! Instances are kept running, or given up with a reason, and nothing of them is ever left.

mod odd_children;

use std::{fs, net::TcpListener, process, time::Duration};

use aibk::api::types::{InstanceState, Traffic};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    LONG, Running, Stage, children_of, ends, fetch, is_alive, kill, listener_on, wait_for,
};

#[test]
fn a_service_starts_and_serves() {
    let stage = Stage::started();
    let blue = stage.instance(&stage.blue_name());
    assert_eq!((blue.state, blue.traffic), (InstanceState::Ready, Some(Traffic::Serving)));
    assert_eq!(blue.pid, listener_on(stage.blue));
    assert_eq!(blue.restarts, 0);
    assert_eq!(stage.instance(&stage.green_name()).state, InstanceState::Stopped);
    assert_eq!(stage.answering(), "v1");
    assert!(stage.notified().iter().any(|line| line.starts_with("STATUS=")));
}

#[test]
fn a_killed_instance_comes_back() {
    let stage = Stage::started();
    let before = stage.instance(&stage.blue_name());
    kill(before.pid.unwrap(), Signal::KILL);
    let after = stage.wait_instance(&stage.blue_name(), "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != before.pid
    });
    assert!(after.generation > before.generation && after.restarts >= 1, "{after:?}");
    assert_eq!(stage.answering(), "v1");
}

#[test]
fn a_crash_loop_is_given_up_with_its_reason() {
    let mut stage = Stage::new();
    stage.releases.write("v1", "exit");
    stage.start();
    let failed = stage.wait_state(&stage.blue_name(), InstanceState::Failed);
    let detail = failed.detail.unwrap();
    assert!(detail.contains('3'), "no exit status: {detail}");
    assert!(detail.contains("the licence has expired"), "no last lines: {detail}");
    stage.ctl(&["status"]).expect(0).says(&["failed"]);
    stage.ctl(&["logs", &stage.blue_name()]).expect(0).says(&["the licence has expired"]);
    assert_eq!(listener_on(stage.blue), None);

    // Once repaired, it is started by hand.
    stage.releases.write("v1", "ok");
    stage.ctl(&["start", &stage.blue_name()]).expect(0);
    assert_eq!(stage.instance(&stage.blue_name()).state, InstanceState::Ready);
}

#[test]
fn an_import_that_raises_is_shown_without_what_is_secret() {
    let mut stage = Stage::new();
    let env_file = stage.path("env");
    fs::write(&env_file, "LEDGER_TOKEN=orders\n").unwrap();
    stage.settings.set("services.api.env_file", env_file.to_str().unwrap());
    stage.releases.write("v1", "raise");
    stage.start();
    let failed = stage.wait_state(&stage.blue_name(), InstanceState::Failed);
    let detail = failed.detail.unwrap();
    assert!(detail.contains("no such table: …"), "{detail}");
    assert!(detail.contains("main.py"), "{detail}");
    for shown in [&["events", "-n", "100"][..], &["rollouts", "--json"], &["status", "--json"]] {
        let shown = stage.ctl(shown).expect(0).stdout;
        assert!(!shown.contains("orders"), "{shown}");
    }
    // Its own log is its own.
    stage.ctl(&["logs", &stage.blue_name()]).expect(0).says(&["no such table: orders"]);
}

#[test]
fn a_missing_module_is_shown() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.app", "nowhere:app");
    stage.start();
    let failed = stage.wait_state(&stage.blue_name(), InstanceState::Failed);
    assert!(failed.detail.unwrap().contains("nowhere"));
}

#[test]
fn an_instance_that_ignores_sigterm_is_ended_in_time() {
    let mut stage = Stage::new();
    stage.releases.write("v1", "ignore-term");
    stage.settings.set("services.api.drain.deadline", "1s");
    stage.settings.set("services.api.stop.deadline", "4s");
    stage.start();
    let pid = stage.instance(&stage.blue_name()).pid.unwrap();
    stage.ctl(&["stop", &stage.blue_name(), "--force"]).expect(0);
    assert_eq!(stage.instance(&stage.blue_name()).state, InstanceState::Stopped);
    assert!(!is_alive(pid) && listener_on(stage.blue).is_none());
}

#[test]
fn workers_of_a_killed_parent_are_ended() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.workers", 2);
    stage.start();
    let parent = stage.instance(&stage.blue_name()).pid.unwrap();
    let workers = children_of(parent);
    assert!(workers.len() >= 2, "{workers:?}");
    kill(parent, Signal::KILL);
    for worker in workers {
        ends(worker, LONG);
    }
    stage.wait_instance(&stage.blue_name(), "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != Some(parent)
    });
    assert_eq!(stage.answering(), "v1");
}

#[test]
fn whoever_holds_the_port_is_named() {
    let mut stage = Stage::new();
    let squatter = TcpListener::bind(("127.0.0.1", stage.blue)).unwrap();
    stage.start();
    let own = process::id().to_string();
    let seen = stage.wait_instance(&stage.blue_name(), "told about the port", LONG, |seen| {
        seen.detail.as_ref().is_some_and(|detail| detail.contains(&own))
    });
    let detail = seen.detail.unwrap();
    assert!(detail.contains(&stage.blue.to_string()) && detail.contains("aibk"), "{detail}");
    drop(squatter);
    stage.ctl(&["start", &stage.blue_name()]).expect(0);
    assert_eq!(stage.instance(&stage.blue_name()).state, InstanceState::Ready);
}

#[test]
fn stopped_is_not_said_while_somebody_holds_the_port() {
    let mut stage = Stage::new();
    let squatter = TcpListener::bind(("127.0.0.1", stage.blue)).unwrap();
    stage.start();
    let blue = stage.blue_name();
    stage.wait_state(&blue, InstanceState::Failed);
    let refused = stage.ctl(&["stop", &blue, "--force"]);
    assert!(refused.status.is_some_and(|status| status != 0), "{refused}");
    refused.says(&[&process::id().to_string(), &stage.blue.to_string()]);
    assert_eq!(stage.instance(&blue).state, InstanceState::Failed);
    drop(squatter);
    stage.ctl(&["stop", &blue, "--force"]).expect(0);
    assert_eq!(stage.instance(&blue).state, InstanceState::Stopped);
}

#[test]
fn an_unreadable_env_file_is_named() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.env_file", stage.path("nowhere.env").to_str().unwrap());
    stage.start();
    stage.wait_instance(&stage.blue_name(), "told about the env file", LONG, |seen| {
        seen.detail.as_ref().is_some_and(|detail| detail.contains("nowhere.env"))
    });
}

#[test]
fn an_env_file_follows_the_rules_of_dotenv() {
    let mut stage = Stage::new();
    let lines = "export PLAIN=one\nCOMMENT=false  # a note\nQUOTED=\"two words\"\nOVER=file\n";
    fs::write(stage.path("app.env"), lines).unwrap();
    stage.settings.set("services.api.env_file", stage.path("app.env").to_str().unwrap());
    stage.settings.set("services.api.env.OVER", "settings");
    stage.start();
    let expected =
        [("PLAIN", "one"), ("COMMENT", "false"), ("QUOTED", "two words"), ("OVER", "settings")];
    for (name, value) in expected {
        let (_, body) = fetch(stage.public, &format!("/env?name={name}")).unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["value"], value, "{name}");
    }
}

#[test]
fn logs_are_kept_and_followed() {
    let stage = Stage::started();
    let blue = stage.blue_name();
    let last = stage.ctl(&["logs", "-n", "2", &blue]).expect(0);
    assert_eq!(last.stdout.lines().count(), 2, "{last}");
    stage.ctl(&["logs", &blue]).expect(0).says(&["importing v1 in mode ok"]);

    let followed = stage.path("followed");
    let mut command = stage.aibkctl(&["logs", "-f", "-n", "0", &blue]);
    let mut following = Running::start_logged(&mut command, &followed);
    // Restarted until the follower, which arrives when it arrives, has seen a start.
    wait_for("a line that is followed", LONG, || {
        stage.ctl(&["restart", "--force", &blue]).expect(0);
        fs::read_to_string(&followed).unwrap().contains("importing v1").then_some(())
    });
    assert!(following.is_going_on());
}

#[test]
fn a_flood_of_output_hurts_nobody() {
    let mut stage = Stage::new();
    stage.releases.write("v1", "flood");
    stage.start();
    assert_eq!(stage.answering(), "v1");
    let output = stage.ctl(&["logs", "-n", "50", &stage.blue_name()]).expect(0);
    assert!(output.stdout.lines().count() <= 51, "{}", output.stdout.len());
    stage.ctl(&["status"]).expect(0);
}

#[test]
fn the_last_member_is_stopped_only_by_force() {
    let stage = Stage::started();
    let blue = stage.blue_name();
    stage.ctl(&["stop", &blue]).expect(4).says(&[&blue, "--force"]);
    assert_eq!(stage.instance(&blue).state, InstanceState::Ready);
    stage.ctl(&["stop", &blue, "--force"]).expect(0);
    assert_eq!(stage.instance(&blue).state, InstanceState::Stopped);
    stage.ctl(&["start", &blue]).expect(0);
    assert_eq!(stage.answering(), "v1");
}

#[test]
fn every_service_is_kept_running() {
    let mut stage = Stage::new();
    stage.add_admin();
    stage.add_command("worker", &["sleep", "100000"]);
    stage.start();
    let (slot, public) = stage.admin.unwrap();
    assert_eq!(fetch(public, "/health").unwrap().0, 200);
    for name in [format!("admin@{slot}"), "worker".to_owned()] {
        let before = stage.wait_state(&name, InstanceState::Ready);
        kill(before.pid.unwrap(), Signal::KILL);
        stage.wait_instance(&name, "back", LONG, |seen| {
            seen.state == InstanceState::Ready && seen.pid != before.pid
        });
    }
    assert_eq!(fetch(public, "/health").unwrap().0, 200);
}

#[test]
fn a_program_that_cannot_be_run_is_named() {
    let mut stage = Stage::new();
    stage.add_command("worker", &["/nonexistent/program"]);
    stage.start();
    let seen = stage.wait_instance("worker", "given up", Duration::from_secs(30), |seen| {
        matches!(seen.state, InstanceState::Failed | InstanceState::Backoff)
    });
    assert!(seen.detail.unwrap().contains("/nonexistent/program"));
    assert_eq!(stage.answering(), "v1");
}
