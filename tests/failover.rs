//! With both slots in service, the death of one is seen by nobody but whoever it was answering.

use aibk::api::types::{InstanceState, Rollout, RolloutState};
use rustix::process::Signal;

use crate::support::{
    LONG, Stage, kill,
    load::{Class, Load, Plan, Report},
    wait_for,
};

fn shared() -> Stage {
    let mut stage = Stage::new();
    stage.settings.set("services.api.rollout.standby", "shared");
    stage.start();
    wait_for("both slots in service", LONG, || (stage.serving().len() == 2).then_some(()));
    stage
}

/// Lets so much be answered.
fn answers(load: &Load, more: u64) {
    let before = load.progress().answered;
    wait_for("answers", LONG, || (load.progress().answered >= before + more).then_some(()));
}

/// Rollouts of that kind that are done.
fn done(stage: &Stage, kind: &str) -> usize {
    let is_one = |rollout: &Rollout| rollout.kind == kind && rollout.state == RolloutState::Done;
    stage.rollouts().iter().filter(|rollout| is_one(rollout)).count()
}

/// Kills it, and sees that nginx no longer knows it before it is ready again, and then does.
#[track_caller]
fn dies_and_comes_back(stage: &Stage, name: &str) {
    let (relieved, restored) = (done(stage, "relieve"), done(stage, "restore"));
    let before = stage.instance(name);
    stage.releases.write("v1", "slow-start");
    kill(before.pid.unwrap(), Signal::KILL);
    wait_for("the upstream to lose it", LONG, || {
        (done(stage, "relieve") > relieved && stage.serving().len() == 1).then_some(())
    });
    assert_ne!(stage.instance(name).state, InstanceState::Ready, "before it was ready again");
    stage.wait_instance(name, "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != before.pid
    });
    wait_for("both slots in service", LONG, || {
        (done(stage, "restore") > restored && stage.serving().len() == 2).then_some(())
    });
}

/// What was being executed inside the dead process: an answer half sent, or an order, which nginx does
/// not ask of another one since it may have been executed.
#[track_caller]
fn lost_only_what_was_inside(report: &Report, deaths: u64, plan: Plan) {
    println!("{report}");
    let inside = report.count(Class::Short) + report.count(Class::Status(502));
    let clients = u64::try_from(plan.gets + plan.posts).unwrap();
    assert_eq!(report.lost, inside, "{report}");
    assert!(inside <= deaths * clients, "each client has one request at a time:\n{report}");
}

#[test]
fn the_death_of_one_of_two_loses_only_what_was_inside() {
    let stage = shared();
    let plan = Plan { posts: 3, ..Plan::gets(stage.address(), 4) };
    let load = stage.load_of(plan);
    answers(&load, 500);
    for name in [stage.blue_name(), stage.blue_name(), stage.green_name()] {
        dies_and_comes_back(&stage, &name);
        answers(&load, 500);
    }
    lost_only_what_was_inside(&load.finish(Some(&stage.executed())).unwrap(), 3, plan);
}

#[test]
fn a_swap_of_a_shared_pair_loses_nothing() {
    let stage = shared();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    let load = stage.load_of(Plan::gets(stage.address(), 4));
    stage.ctl(&["rolling", "api"]).expect(0);
    assert_eq!(stage.serving().len(), 2, "shared again at the end");
    for name in [stage.blue_name(), stage.green_name()] {
        assert_eq!(stage.instance(&name).release.as_deref(), Some("v2"), "{name}");
    }
    let report = load.finish(None).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}
