//! The colour that does not serve yet, or not any more: warm to go back to.

use std::time::{Duration, Instant};

use aibk::api::types::{InstanceState, Rollout, RolloutState, Traffic};

use rustix::process::Signal;

use crate::support::{
    LONG, Stage, ends, fetch, kill,
    load::{Load, Plan},
    run, wait_for,
};

/// Every kind of request that ends soon.
fn load(stage: &Stage) -> Load {
    stage.load_of(Plan { websockets: 0, slow: 0, ..Plan::mixed(stage.address()) })
}

#[track_caller]
fn nothing_lost(stage: &Stage, load: Load) {
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}

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
    let load = load(&stage);
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
    let late = stage.ctl(&["rollback", "api", "--wait"]).expect(4);
    late.says(&["stopped it, after `rollout.keep_old`"]);
    nothing_lost(&stage, load);
}

/// What `api` holds now.
fn held(stage: &Stage) -> Option<Rollout> {
    let api = stage.status().services.into_iter().find(|service| service.name == "api");
    api.and_then(|api| api.rollout).filter(|rollout| rollout.held.is_some())
}

/// The new colour is there for whoever tries it, and for nobody else, whatever becomes of the daemon;
/// then it goes on, or back, as an operator says.
#[test]
fn a_swap_is_held_until_somebody_decides() {
    let mut stage = Stage::new();
    let preview = stage.free_port();
    stage.settings.set("services.api.rollout.watch", "0s");
    stage.settings.set("services.api.upstream.preview", preview);
    stage.start();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    let (blue, green) = (stage.blue_name(), stage.green_name());
    let shown = || fetch(preview, "/version").map(|(_, body)| body).unwrap_or_default();
    let load = load(&stage);
    for verb in ["promote", "abort"] {
        stage.ctl(&[verb, "api"]).expect(4).says(&["api is not held", "swap api --hold"]);
    }

    let told = run(&mut stage.aibkctl(&["swap", "api", "--hold"]), LONG).expect(0);
    let address = format!("curl http://127.0.0.1:{preview}/");
    told.says(&["api: swap is held, release v2", &green, &address, "aibkctl promote api"]);
    told.says(&["aibkctl abort api", "it goes back by itself"]);
    assert!(shown().contains("v2"), "{}", shown());
    assert_eq!((stage.serving(), stage.answering()), (vec![blue.clone()], "v1".to_owned()));
    assert_eq!(stage.instance(&green).traffic, Some(Traffic::Preview));
    stage.ctl(&["status"]).expect(0).says(&["step hold", "preview", &format!(":{preview}/")]);
    stage.ctl(&["rolling", "api"]).expect(4).says(&["at step `hold api@"]);

    let before = held(&stage).unwrap();
    stage.kill_daemon();
    assert!(shown().contains("v2"), "nginx and the application go on");
    stage.restart_daemon();
    let after = wait_for("the successor to hold on", LONG, || held(&stage));
    assert_eq!((after.id, after.held), (before.id, before.held), "until the same moment");

    // It is told once it is durable: here it is not.
    stage.die_at("rollout.effect:1");
    stage.ctl(&["promote", "api", "--no-wait"]);
    wait_for("the daemon to die", LONG, || (!stage.daemon_goes_on()).then_some(()));
    stage.bury_daemon();
    stage.restart_daemon();
    wait_for("the successor to hold on", LONG, || held(&stage));
    assert_eq!(stage.answering(), "v1");
    let done = run(&mut stage.aibkctl(&["promote", "api"]), LONG).expect(0);
    done.says(&["api: swap done", "release v2 serves from green@"]);
    assert_eq!((stage.serving(), stage.answering()), (vec![green.clone()], "v2".to_owned()));
    let hold = stage.rollouts().remove(0).steps.into_iter().rfind(|step| step.name == "hold");
    assert_eq!(hold.unwrap().note.as_deref(), Some("promoted by uid 0"));
    wait_for("the preview port to close", LONG, || fetch(preview, "/").is_err().then_some(()));

    let old = stage.instance(&blue).pid;
    run(&mut stage.aibkctl(&["swap", "api", "--hold"]), LONG).expect(0).says(&["release v1"]);
    assert!(shown().contains("v1"), "{}", shown());
    assert_eq!((stage.serving(), stage.answering()), (vec![green.clone()], "v2".to_owned()));
    let aborted = run(&mut stage.aibkctl(&["abort", "api"]), LONG).expect(0);
    aborted.says(&["api: swap cancelled", "everything is as before"]);
    assert_eq!(stage.serving(), [green]);
    let blue = stage.instance(&blue);
    assert_eq!((blue.pid, blue.traffic), (old, Some(Traffic::Backup)), "it was warm, and is");
    nothing_lost(&stage, load);
}

/// What nobody promotes goes back, and says so: also by a flag, without a port for it, and where the
/// daemon dies over it. What dies while it is held has not passed.
#[test]
fn what_is_held_too_long_or_dies_goes_back() {
    let mut stage = Stage::new();
    stage.flips();
    stage.settings.set("services.api.rollout.watch", "0s");
    stage.settings.set("services.api.rollout.hold", "1s");
    stage.start();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    let (blue, green) = (stage.blue_name(), stage.green_name());
    let load = load(&stage);
    stage.die_at("rollout.effect:4");
    stage.ctl(&["swap", "api", "--hold", "--no-wait"]).expect(0);
    wait_for("the daemon to die", LONG, || (!stage.daemon_goes_on()).then_some(()));
    stage.bury_daemon();
    stage.restart_daemon();
    let id = stage.rollouts().remove(0).id.to_string();
    let told = run(&mut stage.aibkctl(&["wait", &id]), LONG).expect(1);
    told.says(&["nobody promoted it within 1s", "`rollout.hold`", "everything is as before"]);
    assert_eq!((stage.serving(), stage.answering()), (vec![blue.clone()], "v1".to_owned()));
    stage.wait_state(&green, InstanceState::Stopped);
    let events = stage.ctl(&["events"]).expect(0);
    events.says(&["is held: try it at http://127.0.0.1:", "aibkctl promote api"]);

    let file = stage.path("aibk.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("hold: 1s", "hold: 1h").replace("hold: \"1s\"", "hold: 1h"))
        .unwrap();
    stage.ctl(&["daemon-reload"]).expect(0);
    run(&mut stage.aibkctl(&["swap", "api", "--hold"]), LONG).expect(0);
    let id = held(&stage).unwrap().id.to_string();
    kill(stage.instance(&green).pid.unwrap(), Signal::KILL);
    let told = run(&mut stage.aibkctl(&["wait", &id]), LONG).expect(1);
    told.says(&["while held", &green, "everything is as before"]);
    assert_eq!(stage.serving(), [blue]);
    nothing_lost(&stage, load);
}
