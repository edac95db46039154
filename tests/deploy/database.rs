//! Deploys that change a database: a dump comes first, and what fails leaves it as it was. The way back
//! is in `replaced_script/data.rs`.

use std::fs;

use aibk::api::types::RolloutState;

use crate::support::{Postgres, Shop, load::Plan};

#[test]
fn a_database_is_saved_and_migrated_and_a_failure_changes_nothing() {
    let database = Postgres::started();
    let mut shop = Shop::with(&database);
    let at = || database.sql("shop", "SELECT version_num FROM alembic_version");
    let table = "op.create_table('users', sa.Column('id', sa.Integer), sa.Column('n', sa.Text))";
    shop.revision("a1", "None", table, "op.drop_table('users')");
    shop.push("one", "ok");
    shop.stage.start();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 1));
    let first = shop.deploy(&[], 0).release.unwrap();
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
    let four = shop.deploy(&[], 0);
    let output = shop.stage.ctl(&["output", &four.id.to_string()]).expect(0);
    output.says(&["== migrate", "DROP COLUMN"]);
    assert_eq!((at().as_str(), shop.release_that_answers()), ("b2", four.release.unwrap()));
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
}
