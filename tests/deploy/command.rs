//! An operator's own command brings the schema to what a release needs, in the place of Alembic.

use std::fs;

use aibk::api::types::RolloutState;
use serde_json::json;

use crate::support::{
    LONG, Postgres, Shop,
    load::Plan,
    postgres::{PASSWORD, ROLE},
    wait_for,
};

/// psql(1) with `args`, as it is configured.
fn psql(database: &Postgres, args: &[&str]) -> Vec<String> {
    let program = database.programs().join("psql");
    let all = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"].iter().chain(args);
    std::iter::once(program.to_str().unwrap()).chain(all.copied()).map(str::to_owned).collect()
}

/// What the command runs in the next release.
fn schema(shop: &Shop, sql: &str) {
    fs::write(shop.work.join("schema.sql"), sql).unwrap();
}

#[test]
fn a_command_migrates_is_guarded_and_a_failure_changes_nothing() {
    let database = Postgres::started();
    let mut shop = Shop::with(&database);
    let migrate = json!({
        "command": psql(&database, &["-1", "-f", "schema.sql"]),
        "lock_timeout": "700ms",
        "deadline": "50s",
    });
    shop.stage.settings.set("apps.shop.migrate", migrate);
    let known = fs::read_to_string(shop.stage.path(".env")).unwrap();
    let client = format!(
        "{known}PGHOST=127.0.0.1\nPGPORT={}\nPGUSER={ROLE}\nPGDATABASE=shop\nPGPASSWORD='{}'\n",
        database.port,
        PASSWORD.replace('\\', "\\\\")
    );
    fs::write(shop.stage.path(".env"), client).unwrap();

    // It runs after a dump, in the release, under the lock, and with the limits of the application.
    schema(
        &shop,
        "CREATE TABLE notes (n text); INSERT INTO notes SELECT current_setting('lock_timeout'); \
         INSERT INTO notes SELECT 'locks: ' || count(*) FROM pg_locks WHERE locktype = 'advisory'; \
         \\! pwd\n",
    );
    shop.push("one", "ok");
    shop.stage.start();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 1));
    let one = shop.deploy(&[], 0);
    let first = one.release.unwrap();
    assert_eq!(database.sql("shop", "SELECT n FROM notes ORDER BY n"), "700ms\nlocks: 1");
    assert_eq!((shop.release_that_answers(), shop.dumps().len()), (first.clone(), 1));
    let output = shop.stage.ctl(&["output", &one.id.to_string()]).expect(0);
    output.says(&["== migrate", shop.release(&first).to_str().unwrap()]);

    // It fails: the old release serves on, and nobody claims to know what became of the database.
    schema(&shop, "INSERT INTO notes VALUES ('half'); SELECT no_such_thing();");
    shop.push("two", "ok");
    let failed = shop.deploy(&[], 1);
    let why = failed.failure.unwrap();
    for word in
        ["`migrate.command` ended with", "no_such_thing", "migrate.current", "the dump from"]
    {
        assert!(why.contains(word), "{word}: {why}");
    }
    assert!(!why.contains("no revision") && !why.contains("hunter2"), "{why}");
    assert_eq!((failed.state, shop.release_that_answers()), (RolloutState::Undone, first.clone()));

    it_waits_for_nobody_and_tells_of_itself(&mut shop, &database, &first);
    nothing_is_done_where_nothing_is_pending(&shop, &database);
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
}

/// Somebody else migrates: it is not run at all. Where it tells of itself, that is heeded.
fn it_waits_for_nobody_and_tells_of_itself(shop: &mut Shop, database: &Postgres, first: &str) {
    let mut migrate = shop.stage.settings.get("apps.shop.migrate").clone();
    migrate["current"] = json!(psql(database, &["-c", "SELECT 'v' || count(*) FROM notes"]));
    migrate["plan"] = json!(["cat", "pending"]);
    shop.stage.settings.set("apps.shop.migrate", migrate);
    shop.stage.write_files();
    shop.stage.ctl(&["daemon-reload"]).expect(0);
    schema(shop, "INSERT INTO notes VALUES ('three');");
    fs::write(shop.work.join("pending"), "add three\n").unwrap();
    shop.push("three", "ok");
    let lock = "SELECT pg_advisory_lock(hashtext('aibk migration'), hashtext('shop')); \
                SELECT pg_sleep(100)";
    let other = database.begun("shop", lock);
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    wait_for("the other migration", LONG, || (database.sql("shop", held) == "1").then_some(()));
    let refused = shop.deploy(&[], 1).failure.unwrap();
    assert!(refused.contains("another migration"), "{refused}");
    assert_eq!(database.sql("shop", "SELECT count(*) FROM notes"), "2");
    assert_eq!(shop.release_that_answers(), first);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep%' \
               AND pid <> pg_backend_pid()";
    database.sql("postgres", end);
    drop(other);
    let three = shop.deploy(&[], 0);
    let steps = format!("{:?}", three.steps);
    assert!(steps.contains("pending: add three") && steps.contains("is at v3"), "{steps}");
    assert_eq!(database.sql("shop", held), "0");
}

fn nothing_is_done_where_nothing_is_pending(shop: &Shop, database: &Postgres) {
    fs::write(shop.work.join("pending"), "").unwrap();
    shop.push("four", "ok");
    let dumps = shop.dumps().len();
    let four = shop.deploy(&[], 0).release.unwrap();
    assert_eq!((shop.release_that_answers(), shop.dumps().len()), (four, dumps));
    assert_eq!(database.sql("shop", "SELECT count(*) FROM notes"), "3");
}
