//! The disk becomes full in the middle of a deploy.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aibk::api::types::{Rollout, RolloutState};
use serde_json::json;

use crate::support::{LONG, Postgres, Shop, SmallDisk, load::Plan, run, venv, wait_for};

/// Everything in `directory`, but what only locks or tells of what is there.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter(|name| !Path::new(name).extension().is_some_and(|it| it == "lock" || it == "json"))
        .collect();
    names.sort();
    names
}

/// The shop, with its home on `disk`.
fn on(disk: &SmallDisk, database: &Postgres) -> (Shop, PathBuf) {
    let mut shop = Shop::with(database);
    let home = disk.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::copy(shop.stage.path(".env"), home.join(".env")).unwrap();
    let heavy = "test ! -e heavy || head -c 300000000 /dev/zero > big";
    let settings = [
        ("apps.shop.home", json!(home)),
        ("apps.shop.keep", json!(1)),
        ("apps.shop.hooks.build", json!([["ln", "-s", venv(), ".venv"], ["sh", "-c", heavy]])),
        ("services.api.directory", json!(home.join("current"))),
    ];
    for (key, value) in settings {
        shop.stage.settings.set(key, value);
    }
    (shop, home)
}

/// Begins a deploy, fills the disk once `is_there`, and gives how it ended.
fn deploy_while_it_fills(
    shop: &Shop,
    disk: &SmallDisk,
    is_there: impl Fn(&str) -> bool,
    then: impl FnOnce(),
) -> Rollout {
    let id = shop.stage.ctl(&["deploy", "--no-wait"]).expect(0).stdout.trim().to_owned();
    wait_for("the deploy to be there", LONG, || {
        is_there(&shop.stage.ctl(&["rollouts", &id]).stdout).then_some(())
    });
    disk.fill();
    then();
    let ended = run(&mut shop.stage.aibkctl(&["wait", &id, "--json"]), LONG);
    disk.make_room();
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {ended}"))
}

#[test]
fn a_disk_that_becomes_full_stops_the_deploy_and_leaves_nothing_half_done() {
    let disk = SmallDisk::new(120 * 1024);
    let database = Postgres::started();
    let (mut shop, home) = on(&disk, &database);
    let table = "op.create_table('users', sa.Column('id', sa.Integer))";
    shop.revision("a1", "None", table, "op.drop_table('users')");
    shop.push("one", "ok");
    shop.stage.start();
    let first = shop.deploy(&[], 0).release.unwrap();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 1));
    let as_before = |shop: &Shop, stopped: Rollout, step: &str, advice: &str| {
        let (state, why) = (stopped.state, stopped.failure.unwrap());
        assert!(state == RolloutState::Undone && why.contains(advice), "{advice}: {why}");
        assert_eq!(stopped.steps.last().unwrap().name, step, "{why}");
        assert_eq!(
            (Shop::at(&database), shop.release_that_answers()),
            ("a1".into(), first.clone())
        );
        assert_eq!(shop.dumps().len(), 1);
        assert_eq!(names(&home.join("backups")).len(), 1, "half a dump is left");
        let half = names(&home.join("releases")).into_iter().find(|name| name.starts_with('.'));
        assert_eq!(half, None, "half a release is left");
    };

    // While it is built: what was begun gives its room back.
    let add = "op.add_column('users', sa.Column('n', sa.Text))";
    shop.revision("b2", "'a1'", add, "op.drop_column('users', 'n')");
    fs::write(shop.work.join("heavy"), "").unwrap();
    shop.push("two", "ok");
    as_before(&shop, shop.deploy(&[], 1), "build", "make room, and deploy again");
    assert_eq!(names(&home.join("releases")), std::slice::from_ref(&first));

    // While it is dumped, which waits for a lock until then.
    shop.git(&["rm", "-q", "heavy"]);
    shop.push("three", "ok");
    let sql = "BEGIN; LOCK TABLE users; SELECT pg_sleep(100)";
    let holding = database.begun("shop", sql);
    let granted = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND \
                   relation = 'users'::regclass";
    wait_for("the lock", LONG, || (database.sql("shop", granted) == "1").then_some(()));
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let dumping = |shown: &str| shown.contains("backup") && database.sql("shop", waits) != "0";
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep%' \
               AND pid <> pg_backend_pid()";
    let stopped = deploy_while_it_fills(&shop, &disk, dumping, || {
        database.sql("postgres", end);
    });
    drop(holding);
    as_before(&shop, stopped, "backup", "was full before the dump was done; free some");

    // With room again it goes on; and what is kept no more is removed from a full disk, too.
    shop.deploy(&[], 0);
    shop.push("four", "ok");
    let rolling = |shown: &str| shown.contains("await-ready");
    let four = deploy_while_it_fills(&shop, &disk, rolling, || ());
    assert_eq!((four.state, four.failure.as_deref()), (RolloutState::Done, None));
    assert_eq!(shop.release_that_answers(), four.release.unwrap());
    assert!(!home.join("releases").join(&first).exists(), "it is not kept");
    assert_eq!(names(&home.join("releases")).len(), 2);
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
}
