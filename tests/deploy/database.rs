//! Deploys that change a database: a dump comes first, and what fails leaves it as it was. The way back
//! is in `replaced_script/data.rs`.

use std::fs;

use aibk::api::types::{Rollout, RolloutState};
use serde_json::json;

use crate::support::{LONG, Onlooker, Postgres, Shop, load::Plan, run, wait_for};

#[test]
fn a_database_is_saved_and_migrated_and_a_failure_changes_nothing() {
    let mut database = Postgres::started();
    let mut shop = Shop::with(&database);
    let at = || database.sql("shop", "SELECT version_num FROM alembic_version");
    let table = "op.create_table('users', sa.Column('id', sa.Integer), sa.Column('n', sa.Text))";
    shop.revision("a1", "None", table, "op.drop_table('users')");
    shop.push("one", "ok");
    let nothing_but_what_must = json!({"daily": 0, "weekly": 0, "monthly": 0});
    shop.stage.settings.set("apps.shop.backup.keep", nothing_but_what_must);
    shop.stage.start();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 1));
    let onlooker = Onlooker::of("hunter2");
    let first = shop.deploy(&[], 0).release.unwrap();
    let (mut naming, seen) = onlooker.told();
    // So a test makes the role.
    naming.retain(|command| !command.contains("CREATE ROLE"));
    assert!(naming.is_empty() && seen.contains("pg_dump"), "{naming:?}, {seen:?}");
    assert_eq!((at(), shop.dumps().len()), ("a1".to_owned(), 1));

    // A revision that fails: the old code serves on, on the old schema.
    shop.revision("b2", "'a1'", "op.execute('SELECT no_such_thing()')", "pass");
    shop.push("two", "ok");
    let failed = shop.deploy(&[], 1);
    let why = failed.failure.unwrap();
    assert!(why.contains("no_such_thing") && why.contains("the dump from before"), "{why}");
    assert!(!why.contains("hunter2"), "{why}");
    assert_eq!((failed.state, at().as_str()), (RolloutState::Undone, "a1"));
    assert_eq!(shop.release_that_answers(), first);

    // Two heads are found before anything is touched.
    shop.revision(
        "b2",
        "'a1'",
        "op.drop_column('users', 'n')",
        "op.add_column('users', sa.Column('n', sa.Text))",
    );
    shop.revision("x9", "'a1'", "pass", "pass");
    shop.push("three", "ok");
    let dumps = shop.dumps().len();
    let forked = shop.deploy(&[], 1);
    assert!(forked.failure.unwrap().contains("more than one head"));
    assert_eq!((forked.steps.last().unwrap().name.as_str(), shop.dumps().len()), ("check", dumps));

    fs::remove_file(shop.work.join("migrations/versions/x9.py")).unwrap();
    shop.push("four", "ok");
    let looked = shop.stage.ctl(&["deploy", "--plan"]).expect(0);
    looked.says(&[
        "dry run done",
        "3 commits since",
        "Version four",
        "is pending: b2",
        "DROP COLUMN",
    ]);
    assert_eq!((at().as_str(), shop.release_that_answers()), ("a1", first.clone()));
    shop.stage.ctl(&["backup", "create"]).expect(0);
    let by_hand = shop.dumps().last().unwrap().name.clone();
    let four = shop.deploy(&[], 0);
    let pruned = four.steps.last().unwrap();
    assert_eq!((pruned.name.as_str(), pruned.note.as_deref()), ("prune", Some("1 old dump")));
    let left: Vec<String> = shop.dumps().into_iter().map(|dump| dump.name).collect();
    assert!(left.len() == dumps + 1 && !left.contains(&by_hand), "{left:?}");
    let output = shop.stage.ctl(&["output", &four.id.to_string()]).expect(0);
    output.says(&["== migrate", "DROP COLUMN"]);
    assert_eq!((at().as_str(), shop.release_that_answers()), ("b2", four.release.unwrap()));
    without_it_nothing_is_begun(&shop, &mut database);
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
}

fn without_it_nothing_is_begun(shop: &Shop, database: &mut Postgres) {
    let serving = shop.release_that_answers();
    database.stop();
    shop.push("five", "ok");
    let dead = shop.deploy(&[], 1);
    let why = dead.failure.unwrap();
    assert!(why.contains(&database.port.to_string()) && !why.contains("hunter2"), "{why}");
    assert_eq!((dead.state, shop.release_that_answers()), (RolloutState::Undone, serving));
}

/// Whichever of the two can go first does, and all the while the code finds what it asks for.
#[test]
fn a_schema_goes_back_when_no_code_needs_it_any_more() {
    let database = Postgres::started();
    let mut shop = Shop::with(&database);
    shop.stage.settings.set("services.api.env_file", shop.stage.path(".env").to_str().unwrap());
    let at = || database.sql("shop", "SELECT version_num FROM alembic_version");
    let query = |shop: &Shop, query: &str| fs::write(shop.work.join("query"), query).unwrap();
    let table = "op.create_table('users', sa.Column('id', sa.Integer), sa.Column('n', sa.Text))";
    shop.revision("a1", "None", table, "op.drop_table('users')");
    query(&shop, "SELECT n FROM users");
    shop.push("one", "ok");
    shop.stage.start();
    let first = shop.deploy(&[], 0).release.unwrap();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 1));

    // It fails after the migration: the services go back, and the way on is said, and is one.
    let column = "op.add_column('users', sa.Column('o', sa.Text))";
    shop.revision("b2", "'a1'", column, "op.drop_column('users', 'o')");
    query(&shop, "SELECT o FROM users");
    shop.push("two", "exit");
    let why = shop.deploy(&[], 1).failure.unwrap();
    assert!(
        why.contains("the database stays at b2") && why.contains("the dump from before"),
        "{why}"
    );
    let next = why.lines().find(|line| line.ends_with("brings the schema back")).unwrap();
    let next = next.split('`').nth(1).unwrap().strip_prefix("aibkctl ").unwrap();
    let next: Vec<&str> = next.split(' ').collect();
    run(&mut shop.stage.aibkctl(&next), LONG).expect(0);
    assert_eq!((at().as_str(), shop.release_that_answers()), ("a1", first.clone()));

    // What only adds is taken away after the code that needs it, also by a second daemon.
    shop.push("three", "ok");
    let third = shop.deploy(&[], 0).release.unwrap();
    let back = shop.rollback(&[], 0).release;
    assert_eq!((at().as_str(), back.as_ref()), ("b2", Some(&first)), "the older code runs on it");
    shop.rollback(&["--to", &third], 0);
    let plan = shop.stage.ctl(&["rollback", "--plan"]).expect(0);
    plan.says(&["the services go first, then the schema", "b2: ALTER TABLE users DROP COLUMN o"]);
    assert_eq!((at().as_str(), shop.release_that_answers()), ("b2", third));
    shop.stage.die_at("deploy.effect:4");
    let id = shop.stage.ctl(&["rollback", "--db", "--no-wait"]).expect(0).stdout.trim().to_owned();
    wait_for("the daemon's death", LONG, || (!shop.stage.daemon_goes_on()).then_some(()));
    shop.stage.bury_daemon();
    assert_eq!((at().as_str(), shop.release_that_answers()), ("a1", first.clone()));
    shop.stage.restart_daemon();
    let ended = run(&mut shop.stage.aibkctl(&["wait", &id, "--json"]), LONG).expect(0);
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
    let steps = serde_json::from_str::<Rollout>(&ended.stdout).unwrap().steps;
    let migrate = steps.iter().position(|step| step.name == "migrate").unwrap();
    assert!(steps[..migrate].iter().any(|step| step.name == "stop"), "{steps:#?}");
}
