//! Swaps and rolling updates under load: nothing is lost, whatever becomes of the new release.

use std::time::Duration;

use aibk::api::types::{InstanceState, RolloutState};
use rustix::process::Signal;

use crate::support::{
    Output, Stage, kill,
    load::{Load, Plan, Report},
    run,
};

/// A rolling update waits for two drains, in which websockets take all the time there is.
const ROLLOUT: Duration = Duration::from_secs(180);

#[track_caller]
fn rollout(stage: &Stage, args: &[&str]) -> Output {
    run(&mut stage.aibkctl(args), ROLLOUT)
}

#[track_caller]
fn nothing_lost(stage: &Stage, load: Load) -> Report {
    let report = load.finish(Some(&stage.executed())).unwrap();
    println!("{report}");
    assert_eq!(report.lost, 0, "lost requests:\n{report}");
    assert!(report.orders.once > 0 && report.orders.once == report.orders.acknowledged);
    report
}

#[test]
fn ten_swaps_and_five_rolling_updates_lose_nothing() {
    let stage = Stage::started();
    stage.releases.write("v2", "ok");
    let before = stage.edition();
    let load = stage.load();
    for n in 0..15 {
        let verb = if n % 3 == 2 { "rolling" } else { "swap" };
        if verb == "rolling" {
            stage.releases.set_current(if n % 2 == 0 { "v2" } else { "v1" });
        }
        rollout(&stage, &[verb, "api"]).expect(0);
        let expected = if n < 2 { "v1" } else { current(&stage) };
        assert_eq!(stage.serving().len(), 1, "after {verb} {n}");
        if verb == "rolling" {
            assert_eq!(stage.answering(), expected, "after {verb} {n}");
        }
    }
    let report = stage.loses_nothing_since(before, load);
    assert!(report.orders.once > 0 && report.orders.once == report.orders.acknowledged);
}

fn current(stage: &Stage) -> &'static str {
    let current = std::fs::read_link(stage.releases.current()).unwrap();
    if current.ends_with("v2") { "v2" } else { "v1" }
}

#[test]
fn a_rolling_update_ends_where_it_should() {
    let stage = Stage::started();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    let before = stage.instance(&stage.blue_name());
    let load = stage.load();
    rollout(&stage, &["rolling", "api"]).expect(0);
    assert_eq!(stage.answering(), "v2");
    assert_eq!(stage.serving(), [stage.blue_name()]);
    let after = stage.instance(&stage.blue_name());
    assert!(after.generation > before.generation && after.pid != before.pid);
    assert_eq!(after.release.as_deref(), Some("v2"));
    assert_eq!(stage.instance(&stage.green_name()).state, InstanceState::Stopped);
    let rollout = stage.rollouts().remove(0);
    assert_eq!((rollout.state, rollout.kind.as_str()), (RolloutState::Done, "rolling"));
    assert!(rollout.steps.iter().all(|step| step.took_s.is_some() && !step.failed));
    nothing_lost(&stage, load);
}

#[test]
fn a_swap_leaves_the_old_colour_warm() {
    let stage = Stage::started();
    let load = stage.load();
    let blue = stage.instance(&stage.blue_name());
    rollout(&stage, &["swap", "api"]).expect(0);
    assert_eq!(stage.serving(), [stage.green_name()]);
    assert_eq!(stage.instance(&stage.blue_name()).pid, blue.pid, "it runs on");
    rollout(&stage, &["swap", "api"]).expect(0);
    assert_eq!(stage.serving(), [stage.blue_name()]);
    assert_eq!(stage.instance(&stage.blue_name()).pid, blue.pid, "it was not started again");
    nothing_lost(&stage, load);
}

/// A release that behaves as `mode` says changes nothing for anybody.
fn a_bad_release_changes_nothing(verb: &str, mode: &str, why: &[&str]) {
    let mut stage = Stage::new();
    stage.settings.set("services.api.ready.deadline", "4s");
    stage.start();
    let before = stage.instance(&stage.blue_name());
    stage.releases.write("v2", mode);
    stage.releases.set_current("v2");
    let load = stage.load();
    let output = rollout(&stage, &[verb, "api"]).expect(1);
    output.says(why);
    let lines = output.words().lines().count();
    assert!(lines <= 24, "{lines} lines are more than a screen:\n{output}");
    let after = stage.instance(&stage.blue_name());
    assert_eq!((after.pid, after.generation), (before.pid, before.generation));
    assert_eq!(stage.serving(), [stage.blue_name()]);
    assert_eq!(stage.answering(), "v1");
    assert_eq!(stage.instance(&stage.green_name()).state, InstanceState::Stopped);
    nothing_lost(&stage, load);
}

#[test]
fn a_release_that_is_never_ready_changes_nothing() {
    a_bad_release_changes_nothing("rolling", "never-ready", &["ready"]);
}

#[test]
fn a_release_that_exits_at_start_changes_nothing() {
    a_bad_release_changes_nothing("rolling", "exit", &["3", "the licence has expired"]);
}

#[test]
fn a_release_that_raises_changes_nothing() {
    a_bad_release_changes_nothing("swap", "raise", &["no such table: orders"]);
}

#[test]
fn a_release_that_answers_500_changes_nothing() {
    a_bad_release_changes_nothing("rolling", "health-500", &["500"]);
    a_bad_release_changes_nothing("swap", "health-500", &["500"]);
}

/// A stage on which a rolling update to `v2` stays in its watch until told otherwise.
fn watching() -> (Stage, u64) {
    let mut stage = Stage::new();
    stage.settings.set("services.api.rollout.watch", "5m");
    stage.start();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    rollout(&stage, &["rolling", "api", "--no-wait"]).expect(0);
    let id = stage.wait_step("watch").id;
    (stage, id)
}

#[test]
fn cancel_undoes() {
    let (stage, id) = watching();
    let load = stage.load();
    rollout(&stage, &["cancel", &id.to_string()]).expect(0);
    assert_eq!(stage.serving(), [stage.blue_name()]);
    assert_eq!(stage.answering(), "v1");
    assert_eq!(stage.rollouts().remove(0).state, RolloutState::Undone);
    nothing_lost(&stage, load);
}

#[test]
fn trouble_while_watching_goes_back_by_itself() {
    let (stage, id) = watching();
    let green = stage.instance(&stage.green_name());
    let load = stage.load_of(Plan::gets(stage.address(), 2));
    kill(green.pid.unwrap(), Signal::KILL);
    rollout(&stage, &["wait", &id.to_string()]).expect(1);
    assert_eq!(stage.serving(), [stage.blue_name()]);
    assert_eq!(stage.answering(), "v1");
    let report = load.finish(None).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}

#[test]
fn a_second_rollout_is_refused() {
    let (stage, id) = watching();
    let refused = stage.ctl(&["swap", "api"]).expect(4);
    refused.says(&[&id.to_string(), "watch"]);
    assert_eq!(stage.wait_step("watch").id, id, "the first one goes on");
    rollout(&stage, &["cancel", &id.to_string()]).expect(0);
    rollout(&stage, &["status"]).expect(0);
}

#[test]
fn a_second_rollout_may_wait_for_its_turn_and_holds_nothing_meanwhile() {
    let (stage, id) = watching();
    // One that gives up was refused, and has begun nothing.
    let gave_up = rollout(&stage, &["swap", "api", "--wait", "--timeout", "300ms"]).expect(4);
    gave_up.says(&[&id.to_string()]);
    let gone = stage.ctl_begun(&["swap", "api", "--wait"]);
    kill(gone.pid(), Signal::KILL);
    drop(gone);
    let waiting = stage.ctl_begun(&["start", &stage.green_name(), "--wait"]);
    assert_eq!(stage.wait_step("watch").id, id, "the first one goes on");
    rollout(&stage, &["cancel", &id.to_string()]).expect(0);
    waiting.end(ROLLOUT).expect(0);
    let kinds: Vec<String> = stage.rollouts().into_iter().map(|seen| seen.kind).take(2).collect();
    assert_eq!(kinds, ["start", "rolling"], "the one in between died with its client");
}

#[test]
fn a_rollout_outlives_its_client() {
    let stage = Stage::started();
    stage.releases.write("v2", "slow-start");
    stage.releases.set_current("v2");
    let client = stage.ctl_begun(&["rolling", "api"]);
    let id = stage.wait_step("start").id;
    kill(client.pid(), Signal::INT);
    drop(client);
    rollout(&stage, &["wait", &id.to_string()]).expect(0);
    assert_eq!(stage.answering(), "v2");
}

#[test]
fn silent_clients_lose_nothing() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.drain.deadline", "20s");
    stage.settings.set("services.api.stop.deadline", "30s");
    stage.start();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    let plan = Plan { silent: 20, ..Plan::gets(stage.address(), 1) };
    let load = stage.load_of(plan);
    rollout(&stage, &["rolling", "api"]).expect(0);
    rollout(&stage, &["swap", "api"]).expect(0);
    let report = load.finish(None).unwrap();
    assert_eq!(report.lost, 0, "{report}");
    assert_eq!(stage.answering(), "v2");
}

/// Where the old has to stop first, a start that cannot succeed would leave nothing.
#[test]
fn what_could_not_start_is_refused_before_anything_stops() {
    let mut stage = Stage::new();
    stage.add_command("worker", &["sleep", "1000"]);
    let env_file = stage.path("worker.env");
    std::fs::write(&env_file, "KEY=value\n").unwrap();
    stage.settings.set("services.worker.env_file", env_file.to_str().unwrap());
    stage.start();
    let before = stage.wait_state("worker", InstanceState::Ready);
    std::fs::write(&env_file, "no assignment\n").unwrap();
    for verb in ["rolling", "restart"] {
        let refused = rollout(&stage, &[verb, "worker", "--force"]).expect(4);
        refused.says(&["services.worker.env_file", "worker.env", "nothing was changed"]);
    }
    let after = stage.instance("worker");
    assert_eq!((after.pid, after.state), (before.pid, InstanceState::Ready));
}
