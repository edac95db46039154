//! The daemon is killed between an intent, its effect and its result, an effect fails, or is run
//! twice; a successor goes on or undoes, and nobody behind nginx notices.

use std::fs;

use aibk::api::types::{Rollout, RolloutState};
use serde_json::json;

use crate::support::{
    LONG, Stage,
    load::{Load, Plan},
    run, wait_for,
};

/// A service that is quick to drain and to stop.
fn stage() -> Stage {
    let mut stage = Stage::new();
    stage.settings.set("services.api.drain.deadline", "5s");
    stage.settings.set("services.api.stop.deadline", "10s");
    stage.settings.set("services.api.rollout.watch", "100ms");
    stage.releases.write("v2", "ok");
    stage
}

/// What is asked of the daemon, which is struck meanwhile.
struct Ordeal {
    stage: Stage,
    load: Load,
}

impl Ordeal {
    fn on(mut stage: Stage) -> Self {
        stage.start();
        let mixed = Plan::mixed(stage.address());
        let load = stage.load_of(Plan { slow: 0, streams: 0, websockets: 0, ..mixed });
        Self { stage, load }
    }

    /// Asks for `words`, has the daemon struck by `strike`, and lets the next one converge. `None`
    /// when the daemon never came to that point.
    fn dies(&mut self, words: &[&str], strike: &str) -> Option<Rollout> {
        let before = newest(&self.stage).map_or(0, |rollout| rollout.id);
        self.stage.die_at(strike);
        run(&mut self.stage.aibkctl(&[words, &["--no-wait"]].concat()), LONG);
        let stage = &mut self.stage;
        let died = wait_for("the daemon's death, or the end of its rollout", LONG, || {
            let ended = newest(stage).is_some_and(|last| last.id > before && last.state.ended());
            if stage.daemon_goes_on() { ended.then_some(false) } else { Some(true) }
        });
        if !died {
            return None;
        }
        stage.bury_daemon();
        stage.restart_daemon();
        let rollout = wait_for("the rollout to end", LONG, || {
            let verb = |last: &Rollout| last.id > before && last.kind == words[0];
            newest(stage).filter(|last| verb(last) && last.state.ended())
        });
        self.converged(&rollout, strike);
        Some(rollout)
    }

    /// Asks for `words`, and waits for the end of it, while `strike` is in force.
    fn struck(&self, words: &[&str], strike: &str) -> Rollout {
        self.stage.die_at(strike);
        run(&mut self.stage.aibkctl(words), LONG);
        let rollout = newest(&self.stage).expect("a rollout");
        if rollout.state != RolloutState::Stuck {
            self.converged(&rollout, strike);
        }
        rollout
    }

    /// One colour serves, and nginx says the same as its file; nothing is left lying about; and the
    /// history tells what happened.
    fn converged(&self, rollout: &Rollout, strike: &str) {
        let (stage, told) = (&self.stage, format!("{strike}: {rollout:#?}"));
        assert_eq!(stage.serving().len(), 1, "{told}");
        let problem = stage.status().nginx.and_then(|nginx| nginx.problem);
        assert_eq!(problem, None, "{told}");
        let up = stage.instances("api").iter().filter(|instance| instance.pid.is_some()).count();
        assert_eq!(stage.processes("uvicorn").len(), up, "an orphan, {told}");
        let left = fs::read_dir(stage.path("run")).unwrap().flatten();
        let left = left.map(|entry| entry.file_name().into_string().unwrap());
        let left: Vec<String> = left.filter(|name| name.contains("aibk-new")).collect();
        assert!(left.is_empty(), "{left:?}, {told}");
        let failed = rollout.steps.iter().any(|step| step.failed);
        match rollout.state {
            RolloutState::Done => assert!(!failed && rollout.failure.is_none(), "{told}"),
            RolloutState::Undone => assert!(rollout.failure.is_some(), "{told}"),
            _ => panic!("{told}"),
        }
    }

    fn loses_nothing(self) {
        let report = self.load.finish(Some(&self.stage.executed())).unwrap();
        // What a reload costs by itself is compared in `rollout.rs`.
        assert_eq!(report.lost, 0, "{report}");
    }

    /// The release that does not serve now, and what brings it in.
    fn next(&self, verb: &str) -> (&'static str, Vec<String>) {
        let next = if self.stage.answering() == "v1" { "v2" } else { "v1" };
        let release = self.stage.path(&format!("releases/{next}"));
        let words = [verb, "api", "--release", release.to_str().unwrap()];
        (next, words.map(str::to_owned).to_vec())
    }
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

fn every_passage_on(stage: Stage, verb: &str, point: &str, least: u32) {
    let mut ordeal = Ordeal::on(stage);
    let mut nth = 1;
    loop {
        let was = ordeal.stage.answering();
        let (next, words) = ordeal.next(verb);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let strike = format!("{point}:{nth}");
        let Some(rollout) = ordeal.dies(&words, &strike) else { break };
        let expected = if rollout.state == RolloutState::Done { next } else { &was };
        assert_eq!(ordeal.stage.answering(), expected, "killed at {strike}");
        nth += 1;
    }
    assert!(nth > least, "the daemon came to {point} only {} times", nth - 1);
    ordeal.loses_nothing();
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
    every_passage("swap", "nginx.written", 1);
    every_passage("rolling", "nginx.replaced", 4);
    every_passage("rolling", "nginx.reloaded", 4);
}

#[test]
fn a_flip_survives_a_death_inside() {
    let mut stage = stage();
    stage.flips();
    let mut ordeal = Ordeal::on(stage);
    // Both have to be warm.
    let (_, words) = ordeal.next("swap");
    run(&mut ordeal.stage.aibkctl(&words.iter().map(String::as_str).collect::<Vec<_>>()), LONG)
        .expect(0);
    let (next, words) = ordeal.next("swap");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert!(ordeal.dies(&words, "nginx.flipped:1").is_some());
    assert_eq!(ordeal.stage.answering(), next);
    ordeal.loses_nothing();
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

#[test]
fn what_is_done_to_one_instance_survives_a_death_around_each_effect() {
    let mut stage = stage();
    stage.settings.set("services.api.rollout.standby", "hot");
    let (blue, green) = (stage.blue_name(), stage.green_name());
    let mut ordeal = Ordeal::on(stage);
    for point in ["rollout.intent", "rollout.effect"] {
        for (verb, instance, least) in
            [("restart", &blue, 6), ("stop", &green, 3), ("start", &green, 3)]
        {
            let mut nth = 1;
            while ordeal.dies(&[verb, instance], &format!("{point}:{nth}")).is_some() {
                assert_eq!(ordeal.stage.answering(), "v1");
                // The other one is what it has to be for the next death.
                match verb {
                    "stop" => ordeal.stage.ctl(&["start", instance]).expect(0),
                    "start" => ordeal.stage.ctl(&["stop", instance]).expect(0),
                    _ => ordeal.stage.ctl(&["status"]).expect(0),
                };
                nth += 1;
            }
            assert!(nth > least, "{verb} came to {point} only {} times", nth - 1);
        }
    }
    ordeal.loses_nothing();
}

#[test]
fn a_boot_survives_a_death_around_each_effect() {
    let mut stage = stage();
    stage.settings.set("services.api.rollout.standby", "hot");
    stage.start();
    for point in ["rollout.intent", "rollout.effect"] {
        for nth in 1..10 {
            stage.stop_daemon();
            let file = stage.path("sync-point");
            stage.launch_by(|aibkd| {
                fs::write(&file, format!("{point}:{nth}")).unwrap();
                aibkd
            });
            let died = wait_for("the daemon's death, or its readiness", LONG, || {
                let ready = stage.notified().iter().any(|line| line == "READY=1");
                if stage.daemon_goes_on() { ready.then_some(false) } else { Some(true) }
            });
            if !died {
                assert!(nth > 1, "a boot never came to {point}");
                break;
            }
            stage.bury_daemon();
            stage.restart_daemon();
            assert_eq!((stage.answering().as_str(), stage.serving().len()), ("v1", 1));
            assert_eq!(stage.processes("uvicorn").len(), 2, "{point}:{nth}");
        }
    }
}

#[test]
fn each_effect_that_fails_is_undone_or_told_and_a_command_leads_out() {
    let ordeal = Ordeal::on(stage());
    let mut nth = 1;
    loop {
        let was = ordeal.stage.answering();
        let (next, words) = ordeal.next("rolling");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let rollout = ordeal.struck(&words, &format!("rollout.perform:{nth}:fails"));
        match rollout.state {
            RolloutState::Done => break,
            RolloutState::Undone => assert_eq!(ordeal.stage.answering(), was, "{rollout:#?}"),
            _ => {
                assert!(rollout.committed && rollout.failure.is_some(), "{rollout:#?}");
                assert_eq!(ordeal.stage.answering(), next, "{rollout:#?}");
                let after = ordeal.struck(&words, "nowhere:1");
                assert_eq!(after.state, RolloutState::Done, "{after:#?}");
            }
        }
        nth += 1;
    }
    assert!(nth > 14, "only {} effects", nth - 1);
    ordeal.loses_nothing();
}

#[test]
fn each_effect_may_be_run_twice() {
    let ordeal = Ordeal::on(stage());
    for verb in ["rolling", "swap", "swap"] {
        let (next, words) = ordeal.next(verb);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let rollout = ordeal.struck(&words, "rollout.perform:*:twice");
        assert_eq!(rollout.state, RolloutState::Done, "{rollout:#?}");
        assert_eq!(ordeal.stage.answering(), next);
    }
    ordeal.loses_nothing();
}
