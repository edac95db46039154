//! What a rollout would do is foreseen, and nothing of it done; what a cancel undoes is told.

use std::net::TcpListener;

use aibk::api::types::{Planned, PlannedStep, Rollout, RolloutState, Undo};

use crate::support::{LONG, Stage, run};

/// `start api@8001`.
fn words(steps: &[PlannedStep]) -> Vec<String> {
    steps.iter().map(|step| format!("{} {}", step.name, step.on)).collect()
}

fn undone(undo: Option<&Vec<Undo>>) -> Vec<String> {
    undo.expect("it can be undone")
        .iter()
        .map(|undo| format!("{} {}", undo.name, undo.on))
        .collect()
}

fn taken(rollout: &Rollout) -> Vec<String> {
    rollout.steps.iter().map(|step| format!("{} {}", step.name, step.on)).collect()
}

#[track_caller]
fn plan(stage: &Stage, args: &[&str]) -> Planned {
    let output = stage.ctl(&[&["plan", "--json"], args].concat()).expect(0);
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("no plan: {e}\n{output}"))
}

#[test]
fn a_rollout_is_foreseen_and_what_is_undone_is_told() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.rollout.watch", "100ms");
    stage.start();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    let (blue, green) = (stage.blue_name(), stage.green_name());
    let before = (stage.edition(), stage.instance(&blue), stage.rollouts().len());

    // A person reads it, and nothing is changed.
    let page = stage.ctl(&["plan", "api"]).expect(0);
    page.says(&["to release v2", "AT MOST", "no return", &green, "nothing of it is done"]);
    assert!(page.stdout.lines().all(|line| line.chars().count() <= 80), "{page}");
    let planned = plan(&stage, &["api"]);
    let after = (stage.edition(), stage.instance(&blue), stage.rollouts().len());
    assert_eq!((after.0, after.1.pid, after.2), (before.0, before.1.pid, before.2));
    let stop = planned.steps.iter().position(|step| step.name == "stop");
    assert_eq!((planned.no_return, planned.held.as_ref()), (stop, None));
    let total: f64 = planned.steps.iter().map(|step| step.deadline_s).sum();
    assert!((planned.deadline_s - total).abs() < 1e-6 && total > 0.0);

    // What the command would be refused for is refused.
    for (args, why) in [
        (&["nobody", "swap"][..], "no service `nobody`"),
        (&["api", "rollback"], "it was not swapped"),
        (&[&blue, "stop"], "only instance"),
        (&["api", "restart"], "there is no instance `api`"),
    ] {
        stage.ctl(&[&["plan"], args].concat()).expect(4).says(&[why]);
    }
    stage.ctl(&["plan", &blue, "swap"]).expect(2).says(&["without a port"]);
    let stranger = TcpListener::bind(("127.0.0.1", stage.green)).unwrap();
    stage.ctl(&["plan", "api"]).expect(4).says(&["is held by", "nothing was changed"]);
    drop(stranger);

    // It comes true, step by step.
    run(&mut stage.aibkctl(&["rolling", "api"]), LONG).expect(0);
    assert_eq!(taken(&stage.rollouts()[0]), words(&planned.steps));
    let again =
        plan(&stage, &["api", "swap", "--release", stage.path("releases/v1").to_str().unwrap()]);
    assert_eq!((again.no_return, again.release.as_deref()), (None, Some("v1")));

    // While another one goes on, what comes after it is told; a cancel says what it undoes.
    stage.settings.set("services.api.rollout.watch", "5m");
    stage.write_files();
    stage.ctl(&["reload"]).expect(0);
    run(&mut stage.aibkctl(&["swap", "api", "--no-wait"]), LONG).expect(0);
    let id = stage.wait_step("watch").id;
    let later = plan(&stage, &["api", "swap"]);
    let held = later.held.expect("it is held");
    assert!(
        held.contains(&format!("rollout {id} (swap of api)")) && held.contains("watch"),
        "{held}"
    );
    assert_eq!(words(&later.steps)[1], format!("watch {blue}"), "back to the old colour");
    let cancelled = stage.ctl(&["cancel", &id.to_string(), "--no-wait", "--json"]).expect(0);
    let cancelled: Rollout = serde_json::from_str(&cancelled.stdout).unwrap();
    assert_eq!(cancelled.state, RolloutState::Undoing);
    let told = undone(cancelled.undo.as_ref());
    assert_eq!(told[1..], [format!("drain {green}"), format!("stop {green}")]);
    run(&mut stage.aibkctl(&["wait", &id.to_string()]), LONG).expect(1);
    let ended = stage.rollouts().remove(0);
    assert!(taken(&ended).ends_with(&told), "what it said is what it did: {ended:#?}");
    assert_eq!(ended.undo, cancelled.undo, "history has it, too");
    stage.ctl(&["cancel", &id.to_string()]).expect(4).says(&["it has ended"]);
}

/// Past the point of no return a cancel says that nothing can be undone, and changes nothing.
#[test]
fn a_cancel_that_comes_too_late_says_so_and_the_rollout_goes_on() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.rollout.watch", "100ms");
    stage.start();
    stage.releases.write("v2", "slow-start");
    stage.releases.set_current("v2");
    let rolling = stage.ctl_begun(&["rolling", "api"]);
    let id = stage.wait_step("stop").id.to_string();
    let late = stage.ctl(&["cancel", &id]).expect(4);
    late.says(&["nothing can be undone any more, and it goes on", &format!("aibkctl wait {id}")]);
    rolling.end(LONG).expect(0);
    assert_eq!(stage.answering(), "v2");
    // What would be held is foreseen, too.
    let green = stage.green_name();
    stage.ctl(&["plan", "api", "--hold"]).expect(2).says(&["only a swap can be held"]);
    let held = words(&plan(&stage, &["api", "swap", "--hold"]).steps);
    let shown =
        [format!("publish {} {} (preview)", stage.blue, stage.green), format!("hold {green}")];
    assert_eq!(held[2..4], shown, "{held:?}");
}
