//! Its failures with the database, one after another on one stage.

use std::{fs, path::Path};

use aibk::api::types::RolloutState;

use crate::support::{Postgres, Shop, load::Plan};

#[test]
fn a_failed_dump_stops_a_deploy_and_a_rollback_takes_the_schema_and_no_dump() {
    let database = Postgres::started();
    let mut shop = Shop::with(&database);
    let table = "op.create_table('users', sa.Column('id', sa.Integer), sa.Column('n', sa.Text))";
    shop.revision("a1", "None", table, "op.drop_table('users')");
    shop.push("one", "ok");
    shop.stage.start();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 1));
    let first = shop.deploy(&[], 0).release.unwrap();
    let back = "op.add_column('users', sa.Column('n', sa.Text))";
    shop.revision("b2", "'a1'", "op.drop_column('users', 'n')", back);
    shop.push("two", "ok");

    a_failed_dump_stops_the_deploy(&shop, &database, &first);
    let second = shop.deploy(&[], 0).release.unwrap();
    assert_eq!(Shop::at(&database), "b2");
    the_schema_goes_back_with_the_code(&shop, &database, &first, &second);
    dumps_lie_outside_of_what_is_removed(&shop, &second);
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
}

/// The script: a failed dump is only a warning.
fn a_failed_dump_stops_the_deploy(shop: &Shop, database: &Postgres, first: &str) {
    database.sql("shop", "CREATE TABLE secret (id int)");
    let stopped = shop.deploy(&[], 1);
    let why = stopped.failure.unwrap();
    assert!(why.contains("permission denied for table secret"), "{why}");
    assert_eq!(stopped.steps.last().unwrap().name, "backup");
    assert_eq!(stopped.state, RolloutState::Undone);
    assert_eq!((Shop::at(database).as_str(), shop.release_that_answers().as_str()), ("a1", first));
    assert_eq!(shop.dumps().len(), 1);
    database.sql("shop", "DROP TABLE secret");
}

/// The script: code rolls back but the schema does not.
fn the_schema_goes_back_with_the_code(shop: &Shop, database: &Postgres, first: &str, second: &str) {
    let is = || (Shop::at(database), shop.release_that_answers());
    shop.stage.ctl(&["rollback"]).expect(1).says(&["at revision b2", "rollback --db"]);
    assert_eq!(is(), ("b2".into(), second.into()), "not the one without the other");
    shop.rollback(&["--db"], 0);
    assert_eq!(is(), ("a1".into(), first.into()));
}

/// The script: the dump lies inside the tree that a rollback deletes.
fn dumps_lie_outside_of_what_is_removed(shop: &Shop, second: &str) {
    shop.stage.ctl(&["releases", "remove", second]).expect(0);
    let dumps = shop.dumps();
    assert_eq!(dumps.len(), 3, "one for each migration: {dumps:?}");
    for dump in dumps {
        let file = fs::canonicalize(Path::new(&dump.file)).unwrap();
        assert!(!file.starts_with(shop.stage.path("releases")), "{}", file.display());
        shop.stage.ctl(&["backup", "verify", &dump.name]).expect(0).says(&["is whole"]);
    }
}
