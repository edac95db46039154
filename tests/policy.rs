//! What follows when an instance ends by itself, and what an operator does about it.

use std::fs;

use aibk::api::types::InstanceState;
use rustix::process::Signal;

use crate::support::{LONG, Stage, ends, is_reaped, kill, wait_for};

/// A stage with a `worker` that runs `script`; each of its starts adds a line to the file `runs`.
fn with_worker(script: &str) -> Stage {
    let mut stage = Stage::new();
    let script = format!("echo run >> runs; {script}");
    stage.add_command("worker", &["sh", "-c", &script]);
    stage.settings.set("services.worker.restart.delay", "20ms");
    stage.settings.set("services.worker.restart.cap", "50ms");
    stage.settings.set("services.worker.restart.limit", 2);
    stage
}

fn set(stage: &mut Stage, key: &str, value: &str) {
    stage.settings.set(&format!("services.worker.restart.{key}"), value);
}

/// `policy: never` allows no other key.
fn never(stage: &mut Stage) {
    stage.settings.set("services.worker.restart", serde_json::json!({"policy": "never"}));
}

fn runs(stage: &Stage) -> usize {
    fs::read_to_string(stage.path("runs")).unwrap_or_default().lines().count()
}

#[test]
fn what_has_failed_is_forgiven_and_started() {
    let mut stage = with_worker("test -e mended || exit 3; exec sleep 1000");
    stage.start();
    let failed = stage.wait_state("worker", InstanceState::Failed);
    assert_eq!((failed.restarts, runs(&stage)), (2, 3));
    assert!(failed.detail.unwrap().contains("exit status 3"));

    let reset = stage.ctl(&["reset-failed"]).expect(0);
    reset.says(&["worker is stopped now", "aibkctl start worker"]);
    let seen = stage.instance("worker");
    assert_eq!((seen.state, seen.restarts), (InstanceState::Stopped, 0));
    stage.ctl(&["reset-failed"]).expect(0).says(&["nothing had failed"]);
    stage.ctl(&["reset-failed", "worker"]).expect(0).says(&["nothing had failed"]);
    stage.ctl(&["reset-failed", "nobody"]).expect(4).says(&["nobody"]);

    fs::write(stage.path("mended"), "").unwrap();
    stage.ctl(&["start", "worker"]).expect(0);
    assert_eq!(stage.instance("worker").state, InstanceState::Ready);
    stage.ctl(&["events", "-n", "200"]).expect(0).says(&["instance.forgiven"]);
}

#[test]
fn on_failure_a_clean_end_is_the_end() {
    let mut stage = with_worker("exit $(cat status 2>/dev/null || echo 3)");
    set(&mut stage, "policy", "on-failure");
    fs::write(stage.path("status"), "0").unwrap();
    stage.start();
    let seen = stage.wait_state("worker", InstanceState::Finished);
    assert_eq!((seen.pid, seen.restarts, runs(&stage)), (None, 0, 1));
    assert!(seen.detail.unwrap().contains("exit status 0"));
    stage.ctl(&["status"]).expect(0).says(&["finished"]);
    let events = stage.ctl(&["events", "-n", "200"]).expect(0);
    assert!(!events.stdout.contains("service.failed"), "it is no error: {events}");

    // Once more, on purpose: that is done when it is done.
    stage.ctl(&["start", "worker"]).expect(0);
    assert_eq!((stage.instance("worker").state, runs(&stage)), (InstanceState::Finished, 2));
    stage.ctl(&["stop", "worker"]).expect(0);
    assert_eq!(stage.instance("worker").state, InstanceState::Stopped);

    fs::write(stage.path("status"), "3").unwrap();
    let failed = stage.ctl(&["start", "worker"]);
    assert_eq!(failed.status, Some(1), "{failed}");
    failed.says(&["exit status 3"]);
}

#[test]
fn on_failure_a_failure_is_tried_again() {
    // It fails twice, and is done at the third time.
    let mut stage = with_worker("test $(wc -l < runs) -ge 3 || exit 3");
    set(&mut stage, "policy", "on-failure");
    stage.start();
    let seen = stage.wait_state("worker", InstanceState::Finished);
    assert_eq!((seen.restarts, runs(&stage)), (2, 3));
}

#[test]
fn a_signal_that_asks_to_end_is_a_clean_end() {
    let mut stage = with_worker("exec sleep 1000");
    set(&mut stage, "policy", "on-failure");
    stage.start();
    let first = stage.wait_state("worker", InstanceState::Ready);
    kill(first.pid.unwrap(), Signal::KILL);
    let second = stage.wait_instance("worker", "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != first.pid
    });
    kill(second.pid.unwrap(), Signal::TERM);
    stage.wait_state("worker", InstanceState::Finished);
    assert_eq!(runs(&stage), 2);
}

#[test]
fn never_means_never() {
    let mut stage = with_worker("exit 3");
    never(&mut stage);
    stage.start();
    let failed = stage.wait_state("worker", InstanceState::Failed);
    assert_eq!((failed.restarts, runs(&stage)), (0, 1));
    let again = stage.ctl(&["start", "worker"]);
    assert_eq!(again.status, Some(1), "{again}");
    assert_eq!(runs(&stage), 2);
}

/// Each of its runs is a stable one, so that without a window it would go on for ever.
#[test]
fn deaths_within_the_window_are_counted_together() {
    let mut stage = with_worker("sleep 0.4; exit 3");
    set(&mut stage, "stable", "10ms");
    set(&mut stage, "window", "10m");
    stage.start();
    let failed = stage.wait_state("worker", InstanceState::Failed);
    assert_eq!((failed.restarts, runs(&stage)), (2, 3));
}

#[test]
fn what_rests_is_left_so_by_the_next_daemon_but_not_by_the_next_beginning() {
    let mut stage = with_worker("exit 3");
    let batch = ["sh", "-c", "echo batch >> batches"];
    stage.add_command("batch", &batch);
    stage.settings.set("services.batch.restart.policy", "on-failure");
    stage.start();
    stage.wait_state("worker", InstanceState::Failed);
    stage.wait_state("batch", InstanceState::Finished);
    let batches =
        |stage: &Stage| fs::read_to_string(stage.path("batches")).unwrap().lines().count();
    assert_eq!((runs(&stage), batches(&stage)), (3, 1));

    stage.kill_daemon();
    stage.restart_daemon();
    let failed = stage.wait_state("worker", InstanceState::Failed);
    assert!(failed.detail.unwrap().contains("exit status 3"), "and still it is told why");
    stage.wait_state("batch", InstanceState::Finished);
    assert_eq!((runs(&stage), batches(&stage)), (3, 1));

    // Forgiven, it is stopped, also for the next daemon.
    stage.ctl(&["reset-failed", "worker"]).expect(0);
    stage.kill_daemon();
    stage.restart_daemon();
    assert_eq!(stage.instance("worker").state, InstanceState::Stopped);
    assert_eq!(runs(&stage), 3);

    stage.stop_daemon();
    stage.restart_daemon();
    stage.wait_state("worker", InstanceState::Failed);
    stage.wait_state("batch", InstanceState::Finished);
    assert_eq!((runs(&stage), batches(&stage)), (6, 2));
}

/// Nobody saw how it ended, so it may have failed.
#[test]
fn what_vanished_without_a_daemon_is_a_failure() {
    let mut stage = with_worker("exec sleep 1000");
    never(&mut stage);
    stage.add_command("other", &["sleep", "1000"]);
    stage.settings.set("services.other.restart.policy", "on-failure");
    stage.start();
    let pid = |name: &str| stage.wait_state(name, InstanceState::Ready).pid.unwrap();
    let (worker, other) = (pid("worker"), pid("other"));
    stage.kill_daemon();
    for pid in [worker, other] {
        kill(pid, Signal::TERM);
        is_reaped(pid, LONG);
    }
    stage.restart_daemon();
    let failed = stage.wait_state("worker", InstanceState::Failed);
    assert!(failed.detail.unwrap().contains("no aibkd to see how"));
    assert_eq!(runs(&stage), 1);
    wait_for("the other one to be back", LONG, || {
        stage.instance("other").pid.filter(|pid| *pid != other)
    });
}

#[test]
fn a_signal_reloads() {
    let script = "trap 'echo again >> reloads' HUP; while :; do sleep 0.05; done";
    let mut stage = with_worker(script);
    stage.settings.set("services.worker.reload.signal", "HUP");
    stage.settings.set("services.worker.reload.alive", "300ms");
    stage.add_command("deaf", &["sleep", "1000"]);
    stage.settings.set("services.deaf.reload.signal", "USR1");
    stage.add_command("plain", &["sleep", "1000"]);
    stage.start();
    let before = stage.wait_state("worker", InstanceState::Ready);
    stage.ctl(&["reload", "worker"]).expect(0).says(&["SIGHUP", "alive"]);
    wait_for("the trap to have run", LONG, || stage.path("reloads").exists().then_some(()));
    let after = stage.instance("worker");
    assert_eq!((after.pid, after.state), (before.pid, InstanceState::Ready));

    // One that takes the signal for the order to end does not reload, and is started again.
    let deaf = stage.wait_state("deaf", InstanceState::Ready);
    stage.ctl(&["reload", "deaf"]).expect(1).says(&["did not survive SIGUSR1", "aibkctl logs"]);
    stage.wait_instance("deaf", "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != deaf.pid
    });
    let refused = stage.ctl(&["reload", "plain"]).expect(4);
    refused.says(&["nothing says how plain reloads", "signal: HUP"]);
    stage.ctl(&["stop", "worker"]).expect(0);
    stage.ctl(&["reload", "worker"]).expect(4).says(&["worker is stopped"]);
    let events = stage.ctl(&["events", "-n", "200"]).expect(0);
    events.says(&["instance.reloaded", "instance.reload-failed"]);
}

#[test]
fn a_request_reloads() {
    let mut stage = Stage::new();
    let blue = stage.blue_name();
    stage.settings.set("services.api.reload.http", "GET /version");
    stage.settings.set("services.api.reload.deadline", "20s");
    stage.add_admin();
    stage.settings.set("services.admin.reload.http", "GET /nowhere");
    stage.start();
    stage.ctl(&["reload", &blue]).expect(0).says(&["GET /version", "200"]);
    let admin = format!("admin@{}", stage.admin.unwrap().0);
    stage.ctl(&["reload", &admin]).expect(1).says(&["GET /nowhere", "404"]);
    let json = stage.ctl(&["reload", &blue, "--json"]).expect(0);
    assert!(json.stdout.contains("\"by\": \"GET /version\""), "{json}");
}

/// Everything is gone, and the daemon begins in another boot of the host.
fn reboot(stage: &mut Stage) {
    let pids: Vec<i32> = stage
        .status()
        .services
        .iter()
        .flat_map(|service| &service.instances)
        .filter_map(|instance| instance.pid)
        .collect();
    stage.kill_daemon();
    for pid in pids {
        kill(pid, Signal::KILL);
        ends(pid, LONG);
    }
    let db = rusqlite::Connection::open(stage.path("state/aibk.db")).unwrap();
    db.execute("UPDATE daemons SET boot = 'another'", []).unwrap();
    drop(db);
    stage.restart_daemon();
}

#[test]
fn what_is_disabled_stays_down_at_boot_and_only_there() {
    let mut stage = with_worker("exec sleep 1000");
    stage.add_command("never-disabled", &["sleep", "1000"]);
    stage.start();
    let before = stage.wait_state("worker", InstanceState::Ready);
    stage.ctl(&["disable", "worker"]).expect(0).says(&["worker is disabled"]);
    stage.ctl(&["disable", "nobody"]).expect(4).says(&["nobody"]);
    stage.ctl(&["status"]).expect(0).says(&["disabled, not started at boot: worker"]);
    assert_eq!(stage.instance("worker").pid, before.pid, "what runs goes on");

    // The daemon's death is no boot: it is taken over, and restarted as before.
    stage.kill_daemon();
    stage.restart_daemon();
    assert_eq!(stage.wait_state("worker", InstanceState::Ready).pid, before.pid);
    stage.kill_daemon();
    kill(before.pid.unwrap(), Signal::KILL);
    ends(before.pid.unwrap(), LONG);
    stage.restart_daemon();
    stage.wait_state("worker", InstanceState::Ready);
    assert_eq!(runs(&stage), 2);

    reboot(&mut stage);
    assert_eq!(stage.instance("worker").state, InstanceState::Stopped);
    assert_eq!(stage.instance("never-disabled").state, InstanceState::Ready);
    stage.kill_daemon();
    stage.restart_daemon();
    assert_eq!(stage.instance("worker").state, InstanceState::Stopped);
    assert_eq!(runs(&stage), 2);

    // It can be started, and is down again after the next boot.
    stage.ctl(&["start", "worker"]).expect(0);
    stage.stop_daemon();
    stage.restart_daemon();
    assert_eq!((stage.instance("worker").state, runs(&stage)), (InstanceState::Stopped, 3));

    // Enabled, it waits for the next boot, but no longer.
    stage.ctl(&["enable", "worker"]).expect(0).says(&["worker is enabled"]);
    assert_eq!(stage.instance("worker").state, InstanceState::Stopped);
    reboot(&mut stage);
    assert_eq!((stage.instance("worker").state, runs(&stage)), (InstanceState::Ready, 4));
}

#[test]
fn a_whole_service_is_disabled_and_enabled_now() {
    let mut stage = Stage::started();
    let (blue, green) = (stage.blue_name(), stage.green_name());
    let refused = stage.ctl(&["disable", "api", "--now"]).expect(4);
    refused.says(&["api serves", "--force"]);
    assert!(!stage.ctl(&["status"]).stdout.contains("disabled"), "nothing has changed");
    // Both slots run after a swap, and the second one serves.
    stage.ctl(&["swap", "api"]).expect(0);
    stage.ctl(&["disable", "api", "--now", "--force"]).expect(0).says(&["api is disabled"]);
    for name in [&blue, &green] {
        assert_eq!(stage.instance(name).state, InstanceState::Stopped);
    }
    reboot(&mut stage);
    stage.ctl(&["status"]).expect(0).says(&["not started at boot: api"]);
    assert_eq!(stage.instance(&blue).state, InstanceState::Stopped);

    // Nothing of it was meant to run, so it comes up as its configuration says.
    stage.ctl(&["enable", "api"]).expect(0);
    stage.kill_daemon();
    stage.restart_daemon();
    assert_eq!(stage.instance(&blue).state, InstanceState::Stopped, "that was no boot");
    reboot(&mut stage);
    assert_eq!(stage.answering(), "v1");
    assert_eq!(stage.instances("api").iter().filter(|seen| seen.pid.is_some()).count(), 1);

    stage.ctl(&["disable", "api", "--now", "--force"]).expect(0);
    stage.ctl(&["enable", "api", "--now"]).expect(0).says(&["api is enabled"]);
    assert_eq!(stage.answering(), "v1");
}
