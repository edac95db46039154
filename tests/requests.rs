//! What a rollout says of the requests meanwhile: counted, or said not to be.

use std::{fs, time::Duration};

use aibk::api::types::{RequestCount, Requests, Rollout};
use rustix::process::Signal;

use crate::support::{LONG, SmallDisk, Stage, kill, load::Plan, run, wait_for};

const ROLLOUT: Duration = Duration::from_secs(120);

fn last(stage: &Stage) -> Rollout {
    stage.rollouts().remove(0)
}

#[track_caller]
fn meanwhile(rollout: &Rollout) -> (RequestCount, [RequestCount; 3]) {
    match rollout.requests.clone().expect("something is said of requests") {
        Requests::Counted { meanwhile, before, during, after } => {
            (meanwhile, [before, during, after])
        }
        Requests::Uncounted(why) => panic!("not counted: {why}"),
    }
}

/// Everything that clients sent is counted, over a death of the daemon and a rotation of the log.
#[test]
fn every_request_of_a_rollout_is_counted() {
    let mut stage = Stage::started();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    let log = stage.path("aibk-requests.log");
    let load = stage.load_of(Plan::gets(stage.address(), 2));
    stage.die_at("rollout.effect:4");
    stage.ctl(&["rolling", "api", "--no-wait"]).expect(0);
    wait_for("the daemon to die", LONG, || (!stage.daemon_goes_on()).then_some(()));
    stage.bury_daemon();
    fs::rename(&log, stage.path("aibk-requests.log.1")).unwrap();
    let master = fs::read_to_string(stage.path("nginx.pid")).unwrap().trim().parse().unwrap();
    kill(master, Signal::USR1);
    stage.restart_daemon();
    let id = last(&stage).id;
    let told = run(&mut stage.aibkctl(&["wait", &id.to_string()]), ROLLOUT).expect(0);
    told.says(&["0 of ", " requests failed", "longest gap", "p50 and p99: before"]);
    let (meanwhile, [before, during, after]) = meanwhile(&last(&stage));
    assert!(before.requests > 0 && during.requests > 0 && after.requests > 0, "{during:?}");
    assert_eq!(meanwhile.failed, 0);
    assert!(meanwhile.longest_gap_ms < 10_000 && during.p50_ms <= during.p99_ms);
    run(&mut stage.aibkctl(&["rollouts", &id.to_string()]), LONG).expect(0).says(&["0 of "]);
    // What is logged is all that was sent: nothing of it was missed before, during or after.
    let report = load.finish(None).unwrap();
    let logged: usize = ["aibk-requests.log", "aibk-requests.log.1"]
        .map(|log| fs::read_to_string(stage.path(log)).unwrap().lines().count())
        .iter()
        .sum();
    assert_eq!(u64::try_from(logged).unwrap() + report.reuse_races, report.sent, "{report}");
    assert!(meanwhile.requests + before.requests <= report.sent);
}

/// What may be missing in the log is no count, and no reason to fail.
#[test]
fn what_was_not_counted_is_not_claimed() {
    let disk = SmallDisk::new(256);
    let log = disk.path().join("requests.log");
    let mut stage = Stage::new();
    stage.settings.set("nginx.request_log", log.to_str().unwrap());
    stage.settings.set("services.api.rollout.watch", "200ms");
    stage.start();
    let load = stage.load_of(Plan::gets(stage.address(), 1));
    disk.fill();
    let full = run(&mut stage.aibkctl(&["swap", "api"]), ROLLOUT).expect(0);
    full.says(&["requests were not counted", "is full"]);
    disk.make_room();

    stage.ctl(&["swap", "api", "--no-wait"]).expect(0);
    let id = stage.wait_step("watch").id;
    fs::write(&log, "").unwrap();
    let emptied = run(&mut stage.aibkctl(&["wait", &id.to_string()]), ROLLOUT).expect(0);
    emptied.says(&["requests were not counted", "was emptied"]);

    let counted = run(&mut stage.aibkctl(&["swap", "api"]), ROLLOUT).expect(0);
    counted.says(&["0 of ", "requests failed"]);
    assert_eq!(load.finish(None).unwrap().lost, 0);
}

/// A release that is up, and worse than the one before, is taken back, with what told against it.
#[test]
fn what_clients_get_from_the_new_colour_decides() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.rollout.watch", "4s");
    stage.settings.set("services.api.rollout.judge.min_requests", 10);
    stage.start();
    let load = stage.load_of(Plan::gets(stage.address(), 4));
    wait_for("enough requests", LONG, || (load.progress().answered > 100).then_some(()));

    stage.releases.write("v2", "answers-500");
    stage.releases.set_current("v2");
    let failing = run(&mut stage.aibkctl(&["swap", "api"]), ROLLOUT).expect(1);
    failing.says(&[
        "while watched",
        &stage.green_name(),
        "answered 5xx to",
        "everything is as before",
    ]);
    assert_eq!((stage.serving(), stage.answering()), (vec![stage.blue_name()], "v1".to_owned()));
    let (meanwhile, [before, ..]) = meanwhile(&last(&stage));
    assert!(meanwhile.failed > 0 && before.failed == 0, "{meanwhile:?}");

    stage.releases.write("v3", "slow-answers");
    stage.releases.set_current("v3");
    let slow = run(&mut stage.aibkctl(&["rolling", "api"]), ROLLOUT).expect(1);
    slow.says(&["while watched", "answered nine of ten requests within 5", "as before"]);
    assert_eq!((stage.serving(), stage.answering()), (vec![stage.blue_name()], "v1".to_owned()));

    stage.releases.write("v4", "ok");
    stage.releases.set_current("v4");
    run(&mut stage.aibkctl(&["swap", "api"]), ROLLOUT).expect(0).says(&["requests failed"]);
    let watch = last(&stage).steps.into_iter().find(|step| step.name == "watch").unwrap();
    assert!(watch.note.unwrap().starts_with("0 of "), "it says what it was judged by");
    drop(load);
}
