//! A new release comes in by shares of the requests, each watched.

use std::{fs, time::Duration};

use aibk::api::types::{Rollout, RolloutState, Traffic};
use rustix::process::Signal;

use crate::support::{
    LONG, Stage, kill,
    load::{Load, Plan},
    run, wait_for,
};

const ROLLOUT: Duration = Duration::from_secs(120);

/// `api` flips, and a new release of it comes in by `shares`.
fn stage(shares: &[&str], watch: &str) -> Stage {
    let mut stage = Stage::new();
    stage.flips();
    stage.settings.set("services.api.rollout.canary", shares.to_vec());
    stage.settings.set("services.api.rollout.watch", watch);
    stage.start();
    stage
}

/// As many requests as a test of shares needs.
fn load(stage: &Stage) -> Load {
    let pause = Duration::from_millis(2);
    let load = stage.load_of(Plan { pause, posts: 2, ..Plan::gets(stage.address(), 6) });
    wait_for("enough requests", LONG, || (load.progress().answered > 200).then_some(()));
    load
}

fn brings(stage: &Stage, release: &str, mode: &str) {
    stage.releases.write(release, mode);
    stage.releases.set_current(release);
}

/// The rollout under way, once it watches `share` percent of the requests.
#[track_caller]
fn watched_at(stage: &Stage, share: u8) -> Rollout {
    wait_for(&format!("{share}% to be watched"), LONG, || {
        let rollout = stage.status().services.into_iter().find_map(|service| service.rollout)?;
        let watches = rollout.steps.last().is_some_and(|step| step.name == "watch");
        let instances = stage.instances("api");
        let shared = instances.iter().any(|instance| instance.share == Some(share));
        (watches && shared).then_some(rollout)
    })
}

/// How many requests nginx has passed to each of `ports` so far, alone.
fn passed(stage: &Stage, ports: [u16; 2]) -> [f64; 2] {
    let log = fs::read_to_string(stage.path("aibk-requests.log")).unwrap();
    let to = ports.map(|port| format!("|127.0.0.1:{port}|"));
    to.map(|to| {
        f64::from(u32::try_from(log.lines().filter(|line| line.contains(&to)).count()).unwrap())
    })
}

/// The canary's part of the requests while it has `share` percent, is that: within five standard
/// deviations of chance, though nginx deals them out by turns.
#[track_caller]
fn gets_its_share(stage: &Stage, share: u8) {
    watched_at(stage, share);
    let ports = [stage.blue, stage.green];
    let (before, mut after) = (passed(stage, ports), [0.0; 2]);
    let green = stage.green_name();
    wait_for("the end of its stage", LONG, || {
        let now = passed(stage, ports);
        let goes_on = stage.instance(&green).share == Some(share);
        if goes_on {
            after = now;
        }
        (!goes_on).then_some(())
    });
    let [blue, green] = [after[0] - before[0], after[1] - before[1]];
    let (all, p) = (blue + green, f64::from(share) / 100.0);
    let most_off = 5.0 * (all * p * (1.0 - p)).sqrt();
    println!("{share}%: {green} of {all}");
    assert!(all > 300.0 && (green - all * p).abs() < most_off, "{share}%: {green} of {all}");
}

#[test]
fn a_new_release_comes_in_by_shares_and_stands_as_ever() {
    let stage = stage(&["5%", "25%", "50%"], "3s");
    brings(&stage, "v2", "ok");
    let load = load(&stage);
    let (blue, green) = (stage.blue_name(), stage.green_name());
    let plan = stage.ctl(&["plan", "api", "swap"]).expect(0);
    for share in ["5%", "25%", "50%"] {
        plan.says(&[&format!("{} {} ({share})", stage.blue, stage.green)]);
    }
    stage.ctl(&["swap", "api", "--no-wait"]).expect(0);
    for share in [5, 25, 50] {
        watched_at(&stage, share);
        let shown = stage.ctl(&["status"]).expect(0);
        shown.says(&[&format!("canary {share}%"), "serving"]);
        gets_its_share(&stage, share);
    }
    let id = stage.rollouts()[0].id.to_string();
    run(&mut stage.aibkctl(&["wait", &id]), ROLLOUT).expect(0).says(&["0 of "]);
    let notes: Vec<String> =
        stage.rollouts()[0].steps.iter().filter_map(|step| step.note.clone()).collect();
    let told = format!("25% of the traffic to {green}");
    assert!(notes.iter().any(|note| note.contains(&told)), "{notes:#?}");

    // It ends as a service that flips stands: the way back is a flag, and no reload.
    assert_eq!((stage.serving(), stage.answering()), (vec![green], "v2".to_owned()));
    assert_eq!(stage.instance(&blue).traffic, Some(Traffic::Backup));
    let edition = stage.edition();
    run(&mut stage.aibkctl(&["rollback", "api"]), LONG).expect(0);
    assert_eq!((stage.serving(), stage.edition()), (vec![blue], edition));
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}

/// What is worse is seen by few, and goes back with the numbers; so does what dies, whichever it is.
/// A daemon that dies meanwhile changes nothing of it.
#[test]
fn trouble_at_a_share_goes_back_and_a_dead_daemon_goes_on() {
    let stage = stage(&["5%"], "3s");
    let load = load(&stage);
    let (blue, green) = (stage.blue_name(), stage.green_name());
    brings(&stage, "v2", "answers-500");
    let told = run(&mut stage.aibkctl(&["swap", "api"]), ROLLOUT).expect(1);
    told.says(&["while watched", &green, "answered 5xx to", "everything is as before"]);
    let failed = stage.rollouts().remove(0);
    let steps: Vec<&str> = failed.steps.iter().map(|step| step.name.as_str()).collect();
    let back = ["publish", "watch", "publish", "drain", "stop"];
    assert!(steps.ends_with(&back), "at its first share: {steps:?}");
    assert_eq!((stage.serving(), stage.answering()), (vec![blue.clone()], "v1".to_owned()));
    let report = load.finish(None).unwrap();
    let seen = report.sent - report.answered;
    assert!(seen > 0 && seen * 10 < report.sent, "few saw it: {report}");

    // Its own death, and then that of the old one, which is waited for.
    brings(&stage, "v3", "ok");
    let load = self::load(&stage);
    for (dies, steps) in [
        (&green, &["watch", "publish", "drain", "stop"][..]),
        (&blue, &["watch", "publish", "publish", "drain", "stop"]),
    ] {
        stage.ctl(&["swap", "api", "--no-wait"]).expect(0);
        let id = watched_at(&stage, 5).id.to_string();
        kill(stage.instance(dies).pid.unwrap(), Signal::KILL);
        let told = run(&mut stage.aibkctl(&["wait", &id]), ROLLOUT).expect(1);
        told.says(&["while watched", dies, "everything is as before"]);
        let rollout = stage.rollouts().into_iter().find(|rollout| rollout.id.to_string() == id);
        let rollout = rollout.unwrap();
        // The old one may be ready again before it is waited for.
        let taken = rollout.steps.iter().map(|step| step.name.as_str());
        let taken: Vec<&str> = taken.filter(|step| *step != "await-ready").collect();
        assert!(taken.ends_with(steps), "{dies} died: {taken:?}");
        assert_eq!((stage.serving(), stage.answering()), (vec![blue.clone()], "v1".to_owned()));
    }
    // What they had in hand is lost, and nothing else.
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert!(report.lost <= 2 * 8, "{report}");

    let mut stage = stage;
    let load = self::load(&stage);
    stage.ctl(&["swap", "api", "--no-wait"]).expect(0);
    let id = watched_at(&stage, 5).id.to_string();
    stage.kill_daemon();
    stage.restart_daemon();
    run(&mut stage.aibkctl(&["wait", &id]), ROLLOUT).expect(0);
    assert_eq!(stage.rollouts()[0].state, RolloutState::Done);
    assert_eq!((stage.serving(), stage.answering()), (vec![green], "v3".to_owned()));
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}

/// The new one gets all, and so it stays: what is told then leads out.
#[test]
fn where_the_old_one_never_returns_the_way_out_is_told_and_is_one() {
    let mut stage = Stage::new();
    stage.flips();
    stage.settings.set("services.api.rollout.canary", ["5%"].as_slice());
    stage.settings.set("services.api.rollout.watch", "3s");
    stage.settings.set("services.api.restart", serde_json::json!({"policy": "never"}));
    stage.start();
    brings(&stage, "v2", "ok");
    stage.ctl(&["swap", "api", "--no-wait"]).expect(0);
    let id = watched_at(&stage, 5).id.to_string();
    stage.releases.write("v1", "exit");
    kill(stage.instance(&stage.blue_name()).pid.unwrap(), Signal::KILL);
    let told = run(&mut stage.aibkctl(&["wait", &id]), ROLLOUT).expect(5);
    let (green, v1) = (stage.green_name(), stage.path("releases/v1").display().to_string());
    told.says(&[&format!("{green} (release v2) serves everybody"), "goes on to release v2"]);
    assert_eq!((stage.serving(), stage.answering()), (vec![green], "v2".to_owned()));

    stage.releases.write("v1", "ok");
    let load = load(&stage);
    let failure = stage.rollouts()[0].failure.clone().unwrap();
    let back = failure.lines().find(|line| line.ends_with("goes back to release v1")).unwrap();
    assert_eq!(back, format!("`aibkctl rolling api --release {v1}` goes back to release v1"));
    run(&mut stage.aibkctl(&["rolling", "api", "--release", &v1]), ROLLOUT).expect(0);
    assert_eq!(stage.answering(), "v1");
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}
