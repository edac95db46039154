//! Jobs run to their end: by hand, before whoever requires them, and by a schedule.

use std::fs;

use aibk::api::types::{InstanceState, JobStatus, Run, RunState};
use serde_json::json;

use crate::support::{LONG, Stage, is_alive, wait_for};

/// A schedule that does not come while a test runs.
const NEW_YEAR: &str = "0 0 1 1 *";

fn add_job(stage: &mut Stage, name: &str, script: &str, job: &serde_json::Value) {
    let value = json!({
        "command": ["sh", "-c", format!("echo x >>$TEST_STAGE/{name}.runs; {script}")],
        "directory": stage.path(""),
        "env": {"TEST_STAGE": stage.path("")},
        "stop": {"deadline": "2s"},
        "job": job,
    });
    stage.settings.set(&format!("services.{name}"), value);
}

fn job(stage: &Stage, name: &str) -> JobStatus {
    stage.status().jobs.into_iter().find(|job| job.name == name).expect("the job")
}

fn runs(stage: &Stage, name: &str) -> Vec<Run> {
    serde_json::from_str(&stage.ctl(&["runs", name, "--json"]).expect(0).stdout).unwrap()
}

/// How often the program itself was begun.
fn begun(stage: &Stage, name: &str) -> usize {
    fs::read_to_string(stage.path(&format!("{name}.runs"))).unwrap_or_default().lines().count()
}

/// The schedule of `name` was last dealt with two years ago.
fn forget(stage: &Stage, name: &str) {
    let db = rusqlite::Connection::open(stage.path("state/aibk.db")).unwrap();
    let back = "UPDATE schedules SET dealt = dealt - 63072000000000 WHERE job = ?1";
    assert_eq!(db.execute(back, [name]).unwrap(), 1);
}

#[test]
fn a_job_is_run_by_hand_and_its_end_is_the_answer() {
    let mut stage = Stage::new();
    add_job(&mut stage, "fine", "echo all saved", &json!({}));
    add_job(&mut stage, "bad", "echo the disk is full; exit 4", &json!({}));
    add_job(&mut stage, "slow", "echo begun; sleep 100000", &json!({"timeout": "1s"}));
    add_job(&mut stage, "endless", "sleep 100000", &json!({}));
    stage.start();
    assert_eq!(begun(&stage, "fine"), 0, "nobody asked for it");

    stage.ctl(&["run", "fine"]).expect(0).says(&["fine done", "exit status 0"]);
    stage.ctl(&["logs", "fine"]).expect(0).says(&["all saved"]);
    stage.ctl(&["run", "bad"]).expect(1).says(&["bad failed", "exit status 4", "the disk is full"]);
    stage.ctl(&["events"]).expect(0).says(&["bad has failed", "the disk is full"]);
    stage.ctl(&["run", "slow"]).expect(1).says(&["longer than its timeout of 1s", "begun"]);
    assert_eq!(begun(&stage, "bad"), 1, "a job is not started again");

    stage.ctl(&["run", "endless", "--timeout", "0.1"]).expect(6).says(&["goes on"]);
    stage.ctl(&["run", "endless"]).expect(4).says(&["endless runs already"]);
    stage.ctl(&["start", "endless"]).expect(4).says(&["is a job", "aibkctl run endless"]);
    stage.ctl(&["run", "api"]).expect(4).says(&["there is no job api"]);
    let seen: Vec<_> = stage.status().jobs.into_iter().map(|job| (job.name, job.last)).collect();
    let states: Vec<_> = seen.iter().map(|(_, last)| last.as_ref().unwrap().state).collect();
    assert_eq!(states, [RunState::Failed, RunState::Running, RunState::Done, RunState::Failed]);
    stage.ctl(&["status"]).expect(0).says(&["bad failed", "endless running"]);

    // The run that goes on ends with everything else, and that is written down.
    stage.stop_daemon();
    stage.restart_daemon();
    let cut = job(&stage, "endless").last.unwrap();
    assert_eq!(cut.state, RunState::Failed);
    assert_eq!(cut.told.unwrap(), "was stopped together with aibkd");
    assert_eq!(begun(&stage, "endless"), 1);
}

#[test]
fn a_run_is_stopped_by_a_command() {
    let mut stage = Stage::new();
    add_job(
        &mut stage,
        "tidy",
        "trap 'echo tidying; exit 3' TERM; sleep 100000 & wait",
        &json!({}),
    );
    add_job(&mut stage, "deaf", "trap '' TERM; echo deaf; while :; do sleep 0.1; done", &json!({}));
    stage.settings.set("services.deaf.stop.deadline", "300ms");
    stage.start();
    for (name, begun) in [("tidy", "sleep 100000"), ("deaf", "trap '' TERM")] {
        stage.ctl(&["run", name, "--no-wait"]).expect(0);
        wait_for("its process", LONG, || (!stage.processes(begun).is_empty()).then_some(()));
    }
    wait_for("the trap", LONG, || {
        stage.ctl(&["logs", "deaf"]).expect(0).words().contains("deaf").then_some(())
    });
    let told = stage.ctl(&["stop", "tidy"]).expect(0);
    told.says(&["tidy failed", "stopped by uid", "exit status 3", "tidying"]);
    stage.ctl(&["stop", "deaf"]).expect(0).says(&["deaf failed", "and had to be killed"]);
    let last = &runs(&stage, "deaf")[0];
    assert_eq!(last.state, RunState::Failed);
    assert!(last.told.as_ref().unwrap().starts_with("was stopped by uid"), "{last:?}");
    assert!(stage.processes("sleep 100000").is_empty());
    stage.ctl(&["stop", "tidy"]).expect(4).says(&["tidy does not run"]);
}

#[test]
fn jobs_come_change_and_go_with_the_configuration() {
    let mut stage = Stage::new();
    add_job(&mut stage, "long", "test -e $TEST_STAGE/let-go || sleep 100000", &json!({}));
    stage.start();
    stage.ctl(&["run", "long", "--no-wait"]).expect(0);
    let pid = wait_for("its process", LONG, || stage.processes("sleep 100000").first().copied());

    // A run under way ends by the old definition, the next one is by the new.
    add_job(&mut stage, "long", "echo another", &json!({"timeout": "1ms"}));
    add_job(&mut stage, "yearly", "true", &json!({"schedule": NEW_YEAR}));
    let migrate = "echo >$TEST_STAGE/migrated";
    add_job(&mut stage, "migrate", migrate, &json!({}));
    stage.add_command("worker", &["sh", "-c", "test -e migrated && exec sleep 100001"]);
    stage.settings.set("services.worker.requires", json!(["migrate"]));
    stage.write_files();
    stage.ctl(&["reload", "--dry-run"]).expect(0).says(&["yearly would be a new job"]);
    let told = stage.ctl(&["reload"]).expect(0);
    told.says(&["yearly is a new job", "long holds from its next run: command, job"]);
    let fresh = job(&stage, "yearly");
    assert!(fresh.last.is_none() && fresh.next.is_some(), "{fresh:?}");
    let worker = stage.wait_state("worker", InstanceState::Ready);
    assert_eq!((worker.restarts, begun(&stage, "migrate")), (0, 1));
    assert!(is_alive(pid), "it has an hour");
    stage.ctl(&["stop", "long"]).expect(0);

    stage.settings.set("services.long.job", json!({}));
    stage.settings.set("services.yearly.job.schedule", "0 0 2 1 *");
    stage.write_files();
    stage.ctl(&["reload"]).expect(0);
    stage.ctl(&["run", "long"]).expect(0).says(&["long done"]);
    stage.ctl(&["logs", "long"]).expect(0).says(&["another"]);
    let moved = job(&stage, "yearly");
    assert!(moved.last.is_none() && moved.next.unwrap().contains("-01-02"), "{:?}", moved.last);

    // One that is gone is seen out.
    let end = "while ! test -e $TEST_STAGE/end; do sleep 0.05; done; echo >$TEST_STAGE/ended";
    add_job(&mut stage, "long", end, &json!({}));
    stage.write_files();
    stage.ctl(&["reload"]).expect(0);
    stage.ctl(&["run", "long", "--no-wait"]).expect(0);
    stage.settings.remove("services.long");
    stage.write_files();
    stage.ctl(&["reload"]).expect(0).says(&["long is no job any more"]);
    stage.ctl(&["run", "long"]).expect(4).says(&["not configured any more"]);
    fs::write(stage.path("end"), "").unwrap();
    wait_for("it to be forgotten", LONG, || {
        stage.status().jobs.iter().all(|job| job.name != "long").then_some(())
    });
    assert!(stage.path("ended").exists());
}

#[test]
fn a_job_that_is_required_runs_to_its_end_first() {
    let mut stage = Stage::new();
    let migrate = "sleep 0.3; test -e $TEST_STAGE/mended || { echo no table; exit 3; }; \
                   echo >$TEST_STAGE/migrated";
    add_job(&mut stage, "migrate", migrate, &json!({}));
    let worker = "test -e $TEST_STAGE/migrated && exec sleep 100000";
    stage.add_command("worker", &["sh", "-c", worker]);
    stage.settings.set("services.worker.requires", json!(["migrate"]));
    stage.start();
    let why = "it requires migrate, which has failed";
    stage.ctl(&["status"]).expect(0).says(&["migrate failed", "no table", "worker waits", why]);
    stage.ctl(&["start", "worker"]).expect(4).says(&[why]);

    fs::write(stage.path("mended"), "").unwrap();
    stage.ctl(&["run", "migrate"]).expect(0);
    let before = stage.wait_state("worker", InstanceState::Ready);
    assert_eq!(before.restarts, 0, "it was started too early");

    // What runs needs no job when the daemon comes back; what does not run does.
    stage.kill_daemon();
    stage.restart_daemon();
    assert_eq!(stage.wait_state("worker", InstanceState::Ready).pid, before.pid);
    assert_eq!(begun(&stage, "migrate"), 2);
    stage.stop_daemon();
    stage.restart_daemon();
    assert_eq!(stage.instance("worker").state, InstanceState::Ready);
    assert_eq!(begun(&stage, "migrate"), 3);
}

#[test]
fn what_a_schedule_missed_is_made_up_once() {
    let mut stage = Stage::new();
    add_job(&mut stage, "backup", "true", &json!({"schedule": NEW_YEAR}));
    stage.start();
    let fresh = job(&stage, "backup");
    assert!(fresh.last.is_none() && fresh.next.is_some(), "{fresh:?}");
    stage.stop_daemon();
    forget(&stage, "backup");
    stage.restart_daemon();
    let made_up = wait_for("the run", LONG, || {
        runs(&stage, "backup").into_iter().find(|run| run.state == RunState::Done)
    });
    assert!(made_up.scheduled.is_some() && made_up.cause == "its schedule", "{made_up:?}");
    stage.ctl(&["events"]).expect(0).says(&["backup was not run at", "and is now"]);
    stage.stop_daemon();
    stage.restart_daemon();
    assert_eq!((begun(&stage, "backup"), runs(&stage, "backup").len()), (1, 1));
}

#[test]
fn a_run_outlives_the_daemon_and_the_next_one_is_left_out() {
    let mut stage = Stage::new();
    add_job(&mut stage, "backup", "exec sleep 100000", &json!({"schedule": NEW_YEAR}));
    stage.start();
    stage.ctl(&["run", "backup", "--no-wait"]).expect(0);
    let pid = wait_for("its process", LONG, || stage.processes("sleep 100000").first().copied());
    stage.kill_daemon();
    forget(&stage, "backup");
    stage.restart_daemon();
    wait_for("the one left out", LONG, || {
        let told = stage.ctl(&["events"]).expect(0).words();
        told.contains("backup is due, but run 1 of it goes on").then_some(())
    });
    let seen = job(&stage, "backup");
    assert_eq!(seen.last.unwrap().state, RunState::Running);
    assert!(is_alive(pid) && begun(&stage, "backup") == 1);
}

#[test]
fn a_job_is_no_service() {
    let mut stage = Stage::new();
    add_job(&mut stage, "backup", "true", &json!({"schedule": "0 25 * * *"}));
    stage.settings.set("services.backup.restart", json!({"limit": 2}));
    stage.write_files();
    let file = stage.path("aibk.yaml");
    let refused = stage.ctl(&["config", "check", "--no-host", file.to_str().unwrap()]);
    refused.expect(1).says(&["services.backup.job.schedule", "services.backup.restart"]);
}
