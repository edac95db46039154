//! With both slots in service, the death of one is seen by nobody but whoever it was answering.

use aibk::api::types::InstanceState;
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

fn die_and_come_back(stage: &Stage, name: &str) {
    let before = stage.instance(name);
    kill(before.pid.unwrap(), Signal::KILL);
    stage.wait_instance(name, "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != before.pid
    });
    wait_for("both slots in service", LONG, || (stage.serving().len() == 2).then_some(()));
}

#[track_caller]
fn lost_nothing_but_half_sent_answers(report: &Report) {
    println!("{report}");
    let other = report.lost - report.count(Class::Short);
    assert_eq!((other, report.reuse_races), (0, 0), "{report}");
    assert!(report.count(Class::Short) <= 2, "two deaths cut at most one answer each:\n{report}");
}

#[test]
fn the_death_of_one_of_two_loses_nothing() {
    let stage = shared();
    let load = stage.load_of(Plan::gets(stage.address(), 4));
    answers(&load, 500);
    die_and_come_back(&stage, &stage.blue_name());
    // About ten seconds: as long as nginx would have black-listed the slot.
    answers(&load, 2500);
    die_and_come_back(&stage, &stage.blue_name());
    answers(&load, 500);
    die_and_come_back(&stage, &stage.green_name());
    answers(&load, 500);
    lost_nothing_but_half_sent_answers(&load.finish(None).unwrap());
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
