//! The configuration is read again by a daemon that runs.

use std::fs;

use aibk::api::types::{InstanceState, InstanceStatus, Reloaded, RolloutState};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{LONG, Stage, ends, is_alive, kill, wait_for};

fn environment_of(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/environ")).unwrap()).into_owned()
}

/// Soft and hard limit of open files.
fn open_files(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

fn pid_of(stage: &Stage, instance: &str) -> i32 {
    stage.instance(instance).pid.unwrap()
}

#[test]
fn only_what_needs_it_is_replaced_and_nobody_notices() {
    let mut stage = Stage::new();
    stage.add_command("worker", &["sleep", "1000"]).add_command("idler", &["sleep", "1001"]);
    stage.start();
    let edition = stage.edition();
    let load = stage.load();
    let blue = stage.blue_name();
    let before = [&blue, "worker", "idler"].map(|name| pid_of(&stage, name));

    // What is only looked at by the daemon holds at once.
    stage.settings.set("services.api.ready.interval", "300ms");
    stage.settings.set("services.worker.stop.deadline", "3s");
    stage.settings.set("services.worker.limits.nofile", "300:400");
    stage.settings.set("services.worker.nice", 5);
    stage.write_files();
    let asked = stage.ctl(&["reload", "--dry-run"]).expect(0);
    asked.says(&["api would be applied: ready", "worker would be applied: stop, nice, limits"]);
    asked.says(&["nothing was"]);
    assert_ne!(open_files(before[1]), ["300", "400"]);
    stage.ctl(&["reload"]).expect(0).says(&["api applied: ready"]);
    assert_eq!(open_files(before[1]), ["300", "400"]);
    let held = stage.instance("worker").confined;
    assert_eq!(held.enforced, ["limits.nofile 300:400", "nice 5"]);
    stage.ctl(&["daemon-reload"]).expect(0).says(&["the configuration is the one in force"]);
    assert_eq!([&blue, "worker", "idler"].map(|name| pid_of(&stage, name)), before);

    // What is part of a process is replaced, start before stop; the release stays.
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    stage.settings.set("services.api.env.TOLD", "later");
    stage.settings.set("services.api.upstream.keepalive", 7);
    stage.settings.set("services.worker.env.TOLD", "later");
    stage.settings.remove("services.worker.nice");
    stage.write_files();
    let told = stage.ctl(&["daemon-reload", "--json"]).expect(0);
    let told: Reloaded = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(told.rollouts.len(), 2, "{told:?}");
    assert!(told.rollouts.iter().all(|rollout| rollout.state == RolloutState::Done), "{told:?}");
    for (name, old) in [(blue.as_str(), before[0]), ("worker", before[1])] {
        let seen = stage.wait_state(name, InstanceState::Ready);
        assert_ne!(seen.pid, Some(old));
        assert!(environment_of(seen.pid.unwrap()).contains("TOLD=later"));
    }
    assert_eq!(pid_of(&stage, "idler"), before[2]);
    assert_eq!((stage.answering(), stage.serving()), ("v1".to_owned(), vec![blue]));
    stage.ctl(&["nginx", "show"]).expect(0).says(&["keepalive 7"]);
    stage.loses_nothing_since(edition, load);
}

#[test]
fn a_service_gets_another_kind_of_socket_and_nobody_notices() {
    let mut stage = Stage::started();
    let edition = stage.edition();
    let load = stage.load();
    let blue = stage.blue_name();
    stage.settings.set("services.api.socket", "held");
    stage.settings.set("services.api.workers", json!({"count": 2, "by": "aibkd"}));
    stage.write_files();
    stage.ctl(&["reload"]).expect(0).says(&["api is being replaced: socket, workers"]);
    let held = stage.wait_state(&blue, InstanceState::Ready);
    assert_eq!(held.workers.len(), 2, "{held:?}");

    // The next daemon finds it as it is.
    stage.kill_daemon();
    stage.restart_daemon();
    let found = stage.wait_state(&blue, InstanceState::Ready);
    let pids = |seen: &InstanceStatus| seen.workers.iter().map(|w| w.pid).collect::<Vec<_>>();
    assert_eq!(pids(&found), pids(&held));

    stage.settings.remove("services.api.socket").remove("services.api.workers");
    stage.write_files();
    stage.ctl(&["reload"]).expect(0);
    let own = stage.wait_state(&blue, InstanceState::Ready);
    assert!(own.workers.is_empty() && stage.serving() == [blue.clone()], "{own:?}");
    stage.loses_nothing_since(edition, load);
    stage.kill_daemon();
    stage.restart_daemon();
    assert_eq!(stage.wait_state(&blue, InstanceState::Ready).pid, own.pid);
}

#[test]
fn services_and_slots_come_and_go() {
    let mut stage = Stage::new();
    stage.add_command("worker", &["sleep", "1000"]);
    stage.start();
    let edition = stage.edition();
    let load = stage.load();
    let worker = pid_of(&stage, "worker");
    let old = pid_of(&stage, &stage.blue_name());
    let moved = stage.free_port();

    stage.settings.remove("services.worker").set("services.api.slots", json!([moved, stage.green]));
    stage.add_command("mailer", &["sleep", "1001"]);
    stage.write_files();
    // As systemd does it where a unit says so.
    kill(stage.daemon_pid(), Signal::HUP);
    let mailer = wait_for("the new service", LONG, || {
        stage.instances("mailer").into_iter().find(|seen| seen.state == InstanceState::Ready)
    });
    ends(worker, LONG);
    ends(old, LONG);
    wait_for("what is gone to be forgotten", LONG, || {
        let status = stage.status();
        let names: Vec<_> = status.services.iter().flat_map(|service| &service.instances).collect();
        (!names.iter().any(|seen| seen.name == "worker" || seen.name == stage.blue_name()))
            .then_some(())
    });
    assert_eq!(stage.serving(), [format!("api@{moved}")]);
    stage.loses_nothing_since(edition, load);

    // The next daemon sees out what left while there was none.
    let mailer = mailer.pid.unwrap();
    stage.kill_daemon();
    stage.settings.remove("services.mailer");
    stage.write_files();
    stage.restart_daemon();
    ends(mailer, LONG);
    assert!(stage.instances("mailer").is_empty());
    assert_eq!(stage.serving(), [format!("api@{moved}")]);
}

#[test]
fn a_refused_configuration_changes_nothing() {
    let mut stage = Stage::new();
    stage.add_admin();
    stage.add_command("worker", &["sleep", "1000"]);
    stage.start();
    let (good, admin) = (stage.settings.clone(), format!("admin@{}", stage.admin.unwrap().0));
    let names = [stage.blue_name(), admin, "worker".to_owned()];
    let pids = |stage: &Stage| names.each_ref().map(|name| pid_of(stage, name));
    let before = pids(&stage);
    let owned = || fs::read_to_string(stage.path("run/nginx-aibk.conf")).unwrap();
    let file = owned();
    for (key, value, words) in [
        ("services.api.workerz", json!(2), ["workerz", "workers"]),
        ("state_dir", json!("/tmp/elsewhere"), ["state_dir", "restart aibkd"]),
        ("services.admin.env.TOLD", json!("x"), ["has one slot", "--force"]),
        ("services.api.upstream.name", json!("other"), ["api_backend", "nothing was changed"]),
        ("services.api.env_file", json!("missing.env"), ["missing.env", "nothing was changed"]),
    ] {
        let mut bad = good.clone();
        bad.set(key, value).set("services.worker.env.TOLD", "x");
        fs::write(stage.path("aibk.yaml"), bad.to_yaml()).unwrap();
        stage.ctl(&["daemon-reload"]).expect(4).says(&words);
        assert_eq!(pids(&stage), before, "{key}");
        assert_eq!(owned(), file, "{key}");
    }
    stage.ctl(&["events"]).expect(0).says(&["config.refused"]);

    // What the kernel refuses to what runs is told, or left to a start before any stop.
    let mut too_much = good.clone();
    too_much.set("services.worker.limits.nofile", 1_u64 << 40);
    too_much.set("services.api.limits.nofile", 1_u64 << 40);
    fs::write(stage.path("aibk.yaml"), too_much.to_yaml()).unwrap();
    let told = stage.ctl(&["reload"]).expect(4);
    told.says(&["worker applied: limits", "worker has not limits.nofile", "at its next start"]);
    told.says(&["api is being replaced: limits", "the kernel refuses"]);
    assert_eq!(pids(&stage), before);
    fs::write(stage.path("aibk.yaml"), good.to_yaml()).unwrap();
    stage.ctl(&["reload"]).expect(0);
    assert_eq!(pids(&stage), before);

    // What would be lost can be accepted.
    let mut one_slot = good.clone();
    one_slot.set("services.admin.env.TOLD", "x");
    fs::write(stage.path("aibk.yaml"), one_slot.to_yaml()).unwrap();
    stage.ctl(&["daemon-reload", "--force"]).expect(0).says(&["admin is being replaced: env"]);
    let after = pids(&stage);
    assert_ne!(after[1], before[1]);
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    assert!(environment_of(after[1]).contains("TOLD=x") && is_alive(after[0]));
}
