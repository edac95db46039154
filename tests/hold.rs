//! The colour that does not serve yet, or not any more: warm to go back to.

use std::time::{Duration, Instant};

use aibk::api::types::{InstanceState, RolloutState};

use crate::support::{LONG, Stage, ends, load::Plan, run};

/// Within `keep_old` the old colour has the traffic back in a moment, and nothing is started for it;
/// afterwards it is gone, and there is nothing to go back to.
#[test]
fn the_old_colour_is_gone_back_to_while_it_is_warm() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.rollout.watch", "0s");
    stage.settings.set("services.api.rollout.keep_old", "3s");
    stage.start();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    let (blue, green) = (stage.blue_name(), stage.green_name());
    let nothing = stage.ctl(&["rollback", "api"]).expect(4);
    nothing.says(&["api has no old colour to go back to: it was not swapped", "rolling api"]);
    let old = stage.instance(&blue);
    let load = stage.load_of(Plan { websockets: 0, slow: 0, ..Plan::mixed(stage.address()) });

    run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
    let new = stage.instance(&green).pid.unwrap();
    // What the directory is now is nobody's concern on the way back.
    std::fs::remove_file(stage.releases.current()).unwrap();
    let begun = Instant::now();
    let back = run(&mut stage.aibkctl(&["rollback", "api"]), LONG).expect(0);
    let took = begun.elapsed();
    back.says(&["api: rollback done in", "release v1 serves from blue@"]);
    assert_eq!((stage.serving(), stage.answering()), (vec![blue.clone()], "v1".to_owned()));
    assert_eq!(stage.instance(&blue).pid, old.pid, "it runs on");
    let rollout = stage.rollouts().remove(0);
    assert_eq!((rollout.kind.as_str(), rollout.state), ("rollback", RolloutState::Done));
    let steps: Vec<&str> = rollout.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["publish"]);
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    stage.ctl(&["rollback", "api"]).expect(4).says(&["went back already", "aibkctl swap"]);

    ends(new, LONG);
    stage.wait_state(&green, InstanceState::Stopped);
    stage.ctl(&["rollback", "api"]).expect(4).says(&["stopped it, after `rollout.keep_old`"]);
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}
