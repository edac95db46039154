//! Services start after what they depend on, and stop before it.

use std::fs;

use aibk::api::types::InstanceState;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{LONG, Stage, kill, wait_for};

/// A program that writes its name and when into `order`, at its start and at its end, and takes its
/// time to end.
fn diary(name: &str) -> String {
    format!(
        "echo +{name} >>$TEST_STAGE/order; \
         trap 'sleep 0.2; echo -{name} >>$TEST_STAGE/order; exit 0' TERM; \
         while :; do sleep 0.05; done"
    )
}

/// `worker` requires `broker`, `watcher` comes after `worker`, `loner` waits for nobody.
fn stage() -> Stage {
    let mut stage = Stage::new();
    for name in ["broker", "worker", "watcher", "loner"] {
        stage.add_command(name, &["sh", "-c", &diary(name)]);
    }
    stage.settings.set("services.worker.requires", json!(["broker"]));
    stage.settings.set("services.watcher.after", json!(["worker"]));
    stage
}

fn order(stage: &Stage) -> Vec<String> {
    let text = fs::read_to_string(stage.path("order")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn before(order: &[String], first: &str, second: &str) {
    let at = |what: &str| {
        order.iter().position(|line| line == what).unwrap_or_else(|| panic!("no {what}: {order:?}"))
    };
    assert!(at(first) < at(second), "{first} is not before {second}: {order:?}");
}

#[test]
fn services_start_and_stop_in_order_also_the_second_time() {
    let mut stage = stage();
    for _ in 0..2 {
        let _ = fs::remove_file(stage.path("order"));
        stage.start();
        let begun = order(&stage);
        before(&begun, "+broker", "+worker");
        before(&begun, "+worker", "+watcher");
        assert!(begun.contains(&"+loner".to_owned()));
        stage.stop_daemon();
        let ended = order(&stage);
        before(&ended, "-watcher", "-worker");
        before(&ended, "-worker", "-broker");
        assert!(ended.contains(&"-loner".to_owned()));
    }
}

#[test]
fn what_runs_is_taken_over_at_once_whatever_it_depends_on() {
    let mut stage = stage();
    stage.start();
    let before = stage.instance("worker");
    let broker = stage.instance("broker").pid.unwrap();
    // What it requires cannot come back, and is not waited for.
    stage.settings.set("services.broker.command", json!(["/nonexistent/broker"]));
    stage.kill_daemon();
    kill(broker, Signal::KILL);
    stage.start();
    let after = stage.wait_state("worker", InstanceState::Ready);
    assert_eq!((after.pid, after.generation), (before.pid, before.generation));
    assert_eq!(stage.instance("broker").state, InstanceState::Failed);
}

#[test]
fn without_what_it_requires_a_service_is_held_and_says_why() {
    let mut stage = stage();
    let mends = "test -e $TEST_STAGE/mended && exec sleep 100000; echo the disk is full; exit 4";
    stage.settings.set("services.broker.command", json!(["sh", "-c", mends]));
    stage.settings.set("services.loner.requires", json!(["worker"]));
    stage.start();
    assert_eq!(stage.instance("broker").state, InstanceState::Failed);
    assert_eq!(stage.instance("worker").state, InstanceState::Stopped);
    // Who only comes after it, comes.
    assert_eq!(stage.instance("watcher").state, InstanceState::Ready);
    let held = "it requires broker, which has failed";
    let told = ["worker waits", held, "loner waits", "it requires worker, which is held itself"];
    stage.ctl(&["status"]).expect(0).says(&told);
    stage.ctl(&["events"]).expect(0).says(&[&format!("worker is held: {held}")]);
    stage.ctl(&["start", "worker"]).expect(4).says(&[held, "start broker first"]);
    assert!(!order(&stage).contains(&"+worker".to_owned()));

    // Once that is mended, everybody comes.
    fs::write(stage.path("mended"), "").unwrap();
    stage.ctl(&["start", "broker"]).expect(0);
    for name in ["worker", "loner"] {
        stage.wait_state(name, InstanceState::Ready);
    }
    wait_for("nobody to wait", LONG, || {
        stage.status().services.iter().all(|service| service.waits.is_none()).then_some(())
    });
}

#[test]
fn a_cycle_is_refused_before_anything_starts() {
    let mut stage = stage();
    stage.settings.set("services.broker.after", json!(["watcher"]));
    stage.write_files();
    let file = stage.path("aibk.yaml");
    let refused = stage.ctl(&["config", "check", "--no-host", file.to_str().unwrap()]);
    assert_ne!(refused.status, Some(0), "{refused}");
    refused.says(&["waits for itself", "broker → watcher → worker → broker"]);
}
