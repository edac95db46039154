//! The daemon is killed a hundred times, at any moment of its life.

use std::hash::{BuildHasher, Hasher, RandomState};

use aibk::api::types::InstanceState;

use crate::support::{LONG, Stage, run, wait_for};

const KILLS: usize = 100;

/// Below `limit`; spreads the kills, guards nothing.
fn draw(limit: u64) -> u64 {
    RandomState::new().build_hasher().finish() % limit
}

#[test]
fn a_hundred_deaths_of_the_daemon_are_seen_by_nobody() {
    let mut stage = Stage::new();
    let script = "while :; do echo line; sleep 0.01; done";
    stage.add_command("worker", &["sh", "-c", script]);
    stage.start();
    let load = stage.load();
    let names = [stage.blue_name(), "worker".to_owned()];
    let seen = |stage: &Stage| {
        names.each_ref().map(|name| {
            let seen = stage.wait_state(name, InstanceState::Ready);
            (seen.pid, seen.generation, seen.restarts)
        })
    };
    let before = seen(&stage);
    for n in 0..KILLS {
        stage.kill_daemon();
        stage.launch();
        if n % 2 == 0 {
            // As soon as it answers.
            wait_for("the daemon to answer", LONG, || {
                (run(&mut stage.aibkctl(&["version"]), LONG).status == Some(0)).then_some(())
            });
        } else {
            // At any moment of its coming up.
            let (answered, more) = (load.progress().answered, draw(60));
            wait_for("some requests", LONG, || {
                (load.progress().answered >= answered + more).then_some(())
            });
        }
    }
    stage.kill_daemon();
    stage.restart_daemon();
    assert_eq!(seen(&stage), before, "the same processes, never started again");
    assert_eq!(stage.processes("uvicorn").len(), 1, "one instance, and no orphan");
    assert_eq!(stage.processes("while :").len(), 1, "one worker, and no orphan");
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!((report.lost, report.reuse_races), (0, 0), "{report}");
}
