//! The daemon is killed between an intent, its effect and its result; its successor goes on or
//! undoes, and nobody behind nginx notices.

use aibk::api::types::{Rollout, RolloutState};
use serde_json::json;

use crate::support::{LONG, Stage, run, wait_for};

/// A service that is quick to drain and to stop.
fn stage() -> Stage {
    let mut stage = Stage::new();
    stage.settings.set("services.api.drain.deadline", "2s");
    stage.settings.set("services.api.stop.deadline", "6s");
    stage.settings.set("services.api.rollout.watch", "100ms");
    stage.releases.write("v2", "ok");
    stage
}

/// Rolls or swaps to the other release with a daemon that dies at `point`, and lets the next one
/// converge. `false` when the daemon never came to that point.
fn survives(stage: &mut Stage, verb: &str, point: &str) -> bool {
    let (was, next) = if stage.answering() == "v1" { ("v1", "v2") } else { ("v2", "v1") };
    let before = newest(stage).map_or(0, |rollout| rollout.id);
    stage.die_at(point);
    let release = stage.path(&format!("releases/{next}"));
    run(
        &mut stage.aibkctl(&[verb, "api", "--no-wait", "--release", release.to_str().unwrap()]),
        LONG,
    );
    let died = wait_for("the daemon's death, or the end of its rollout", LONG, || {
        let ended = newest(stage).is_some_and(|last| last.id > before && last.state.ended());
        if stage.daemon_goes_on() { ended.then_some(false) } else { Some(true) }
    });
    if !died {
        return false;
    }
    stage.bury_daemon();
    stage.restart_daemon();
    let rollout = wait_for("the rollout to end", LONG, || {
        newest(stage).filter(|last| last.id > before && last.kind == verb && last.state.ended())
    });
    let expected = match rollout.state {
        RolloutState::Done => next,
        RolloutState::Undone => was,
        other => panic!("killed at {point}: {other:?}: {:?}", rollout.failure),
    };
    assert_eq!(stage.answering(), expected, "killed at {point}");
    assert_eq!(stage.serving().len(), 1, "killed at {point}");
    let up = stage.instances("api").iter().filter(|instance| instance.pid.is_some()).count();
    assert_eq!(stage.processes("uvicorn").len(), up, "an orphan, killed at {point}");
    true
}

/// The last rollout that is not a boot; `None` also when the daemon does not answer.
fn newest(stage: &Stage) -> Option<Rollout> {
    let output = stage.ctl(&["rollouts", "--json"]);
    let rollouts: Vec<Rollout> = serde_json::from_str(&output.stdout).ok()?;
    rollouts.into_iter().find(|rollout| rollout.kind != "boot")
}

/// Kills the daemon at the first passage of `point`, then at the second, until a rollout goes by
/// without coming there once more. There must be `least` passages.
fn every_passage(verb: &str, point: &str, least: u32) {
    every_passage_on(stage(), verb, point, least);
}

fn every_passage_on(mut stage: Stage, verb: &str, point: &str, least: u32) {
    stage.start();
    let mut nth = 1;
    while survives(&mut stage, verb, &format!("{point}:{nth}")) {
        nth += 1;
    }
    assert!(nth > least, "the daemon came to {point} only {} times", nth - 1);
}

#[test]
fn a_rolling_update_survives_a_death_before_each_effect() {
    every_passage("rolling", "rollout.intent", 14);
}

#[test]
fn a_rolling_update_survives_a_death_after_each_effect() {
    every_passage("rolling", "rollout.effect", 14);
}

#[test]
fn a_swap_survives_a_death_around_each_effect() {
    every_passage("swap", "rollout.intent", 2);
    every_passage("swap", "rollout.effect", 2);
}

#[test]
fn a_publish_survives_a_death_inside() {
    every_passage("rolling", "nginx.replaced", 4);
    every_passage("rolling", "nginx.reloaded", 4);
}

#[test]
fn a_start_that_nobody_remembers_leaves_no_second_tree() {
    every_passage("rolling", "instance.spawned", 2);
}

#[test]
fn an_end_that_was_not_written_down_is_reached_again() {
    every_passage("rolling", "rollout.end", 1);
    every_passage("swap", "rollout.end", 1);
}

#[test]
fn a_replacement_in_one_slot_survives_a_death_inside() {
    for point in ["rollout.intent", "rollout.beside", "rollout.faced"] {
        let mut stage = stage();
        let slot = stage.blue;
        stage.settings.set("services.api.slots", json!([slot]));
        stage.settings.set("services.api.socket", "held");
        stage.settings.set("services.api.workers", json!({"count": 1, "by": "aibkd"}));
        every_passage_on(stage, "rolling", point, 1);
    }
}
