//! Deploys: new code from git into service, and back, over whatever fails.

mod archive;
mod command;
mod database;
mod full_disk;
mod killed;

use std::{fs, os::unix::fs::PermissionsExt};

use crate::support::{LONG, Shop, load::Plan, run, wait_for};
use aibk::api::types::{ReleaseState, Rollout, RolloutState};

#[test]
fn new_code_comes_from_git_and_goes_back_and_nobody_notices() {
    let mut shop = Shop::new();
    shop.push("one", "ok");
    shop.stage.start();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 2));

    let one = shop.deploy(&[], 0);
    assert_eq!((one.state, one.kind.as_str()), (RolloutState::Done, "deploy"));
    let first = one.release.clone().unwrap();
    assert_eq!(
        (shop.stage.answering(), shop.release_that_answers()),
        ("one".into(), first.clone())
    );
    let code = one.code.unwrap();
    assert_eq!((code.subject.as_str(), code.author.contains("Ada")), ("Version one", true));
    let directory = shop.stage.path("releases").join(&first);
    let mode = fs::metadata(directory.join("main.py")).unwrap().permissions().mode();
    assert_eq!(mode & 0o222, 0, "nobody changes what runs");
    assert_eq!(fs::canonicalize(shop.stage.path("current")).unwrap(), directory);

    // What fails is never seen by clients.
    shop.push("two", "exit");
    let two = shop.deploy(&[], 1);
    assert_eq!(two.state, RolloutState::Undone);
    assert!(two.failure.unwrap().contains("the licence has expired"));
    assert_eq!(shop.release_that_answers(), first);

    shop.push("three", "ok");
    let three = shop.deploy(&["--code-only"], 0).release.unwrap();
    assert_eq!(shop.release_that_answers(), three);
    let states: Vec<_> = shop.releases().iter().map(|release| release.state).collect();
    let expected = [ReleaseState::Current, ReleaseState::Failed, ReleaseState::Good];
    assert_eq!(states, expected);
    shop.stage.ctl(&["releases", "remove", &three]).expect(4).says(&["is current or runs"]);
    shop.stage.ctl(&["status"]).expect(0).says(&["shop", &three, "Version three"]);

    // The one that failed is skipped.
    let back = run(&mut shop.stage.aibkctl(&["rollback", "--json"]), LONG).expect(0);
    let back: Rollout = serde_json::from_str(&back.stdout).unwrap();
    assert_eq!((back.kind.as_str(), back.release.as_deref()), ("rollback", Some(first.as_str())));
    assert_eq!(shop.release_that_answers(), first);
    shop.stage.ctl(&["rollback"]).expect(4).says(&["no release to go back to"]);
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
}

/// The daemon is killed before and after each step; its successor goes on, and so does the load.
#[test]
fn a_deploy_outlives_the_daemon_at_every_step() {
    let mut shop = Shop::new();
    shop.push("one", "ok");
    shop.stage.settings.set("apps.shop.roll_out", "swap");
    shop.stage.start();
    let first = shop.deploy(&[], 0).release.unwrap();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 2));
    shop.push("two", "ok");
    shop.stage.die_at("deploy.intent:1");
    let begun = shop.stage.ctl(&["deploy", "--no-wait"]).expect(0);
    let id = begun.stdout.trim().to_owned();
    for strike in
        ["deploy.effect:1", "deploy.effect:2", "deploy.intent:3", "deploy.effect:1", "deploy.end:1"]
    {
        wait_for("the daemon's death", LONG, || (!shop.stage.daemon_goes_on()).then_some(()));
        shop.stage.bury_daemon();
        shop.stage.launch();
        shop.stage.die_at(strike);
    }
    wait_for("the daemon's death", LONG, || (!shop.stage.daemon_goes_on()).then_some(()));
    shop.stage.bury_daemon();
    shop.stage.restart_daemon();
    run(&mut shop.stage.aibkctl(&["wait", &id]), LONG).expect(0);
    let current = shop.releases().remove(0);
    assert_eq!((current.state, shop.release_that_answers()), (ReleaseState::Current, current.id));
    assert_eq!(shop.releases().len(), 2, "nothing half made is left");

    // The old one is warm: nothing is started.
    let back = run(&mut shop.stage.aibkctl(&["rollback", "--json"]), LONG).expect(0);
    let back: Rollout = serde_json::from_str(&back.stdout).unwrap();
    assert!(back.steps.iter().all(|step| step.name != "start"), "{:#?}", back.steps);
    assert_eq!(shop.release_that_answers(), first);
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
}
