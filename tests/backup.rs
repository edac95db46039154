//! Dumps of a real database: made, listed, checked, brought back, let go.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use aibk::api::types::{Backup, Run, RunState};
use serde_json::json;

use crate::support::{LONG, Output, Postgres, Stage, wait_for};

/// A stage with an application whose database has three users and an empty table.
fn set() -> (Stage, Postgres) {
    let database = Postgres::started();
    database.sql(
        "shop",
        "SET ROLE shop; CREATE TABLE users (id int, name text); CREATE TABLE \"odd Name\" (id int); \
         INSERT INTO users SELECT n, 'somebody' FROM generate_series(1, 3) n; \
         CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('a1')",
    );
    let mut stage = Stage::new();
    let home = stage.path("shop");
    fs::create_dir(&home).unwrap();
    fs::write(home.join(".env"), format!("DATABASE_URL='{}'\n", database.url())).unwrap();
    let app = json!({
        "home": home,
        "env_file": ".env",
        "services": ["api"],
        "database": {"url_from": "DATABASE_URL", "programs": database.programs()},
        "backup": {"deadline": "30s"},
    });
    stage.settings.set("apps.shop", app);
    (stage, database)
}

fn directory(stage: &Stage) -> PathBuf {
    stage.path("shop/backups")
}

fn dumps(stage: &Stage) -> Vec<Backup> {
    let listed = stage.ctl(&["backup", "list", "--json"]).expect(0);
    serde_json::from_str(&listed.stdout).unwrap()
}

/// Files there, but the lock.
fn files(stage: &Stage) -> Vec<String> {
    let entries = fs::read_dir(directory(stage)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != ".shop.lock").collect();
    names.sort();
    names
}

fn ended(output: &Output) -> Run {
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn a_dump_is_made_checked_and_brought_back() {
    let (mut stage, database) = set();
    stage.start();
    stage.ctl(&["backup", "list"]).expect(0).says(&["no dump yet"]);
    stage.ctl(&["backup", "verify"]).expect(4).says(&["shop has no dump"]);
    stage.ctl(&["backup", "create", "--pin"]).expect(0).says(&["made shop-2", "3 tables"]);
    let all = dumps(&stage);
    let [dump] = all.as_slice() else { panic!("{all:?}") };
    let known = dump.known.as_ref().unwrap();
    assert_eq!((known.tables, known.pinned, known.reason.as_str()), (3, true, "manual"));
    assert_eq!((known.revisions.as_slice(), known.database.as_str()), (&["a1".into()][..], "shop"));
    assert_eq!(files(&stage), [format!("{}.dump", dump.name), format!("{}.json", dump.name)]);
    let mode = fs::metadata(&dump.file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "nobody else reads it");

    let told = stage.ctl(&["backup", "verify", "--drill"]).expect(0);
    told.says(&["is whole", "public.users: 3", "public.odd Name: 0"]);
    assert_eq!(database.databases(), ["shop"], "the drill leaves nothing");

    database.sql("shop", "DELETE FROM users; DROP TABLE \"odd Name\"");
    stage.ctl(&["backup", "restore", &dump.name]).expect(4).says(&["--yes"]);
    assert_eq!(database.sql("shop", "SELECT count(*) FROM users"), "0", "nothing was done");
    let told = stage.ctl(&["backup", "restore", &dump.name, "--yes"]).expect(0);
    told.says(&["restored shop-2", "shop_old_2"]);
    assert_eq!(database.sql("shop", "SELECT count(*) FROM users"), "3");
    let [_, old] = <[String; 2]>::try_from(database.databases()).unwrap();
    assert_eq!(database.sql(&old, "SELECT count(*) FROM users"), "0", "what was there is kept");

    let said = fs::read_to_string(stage.path("daemon.log")).unwrap();
    let events = stage.ctl(&["events", "--json"]).expect(0).stdout;
    assert!(!said.contains("hunter2") && !events.contains("hunter2"), "the password is told");
}

#[test]
fn what_cannot_be_saved_or_used_is_told_and_changes_nothing() {
    let (mut stage, mut database) = set();
    // A copy that its check does not find.
    let copied = stage.path("copied");
    let backup = json!({
        "deadline": "30s",
        "copy": ["sh", "-c", "cp $0 $1", "{file}", copied],
        "copy_check": ["sh", "-c", "test -s $0 && echo {sha256} $0 | sha256sum --check --status", copied, "{name}"],
    });
    stage.settings.set("apps.shop.backup", backup);
    stage.start();
    stage.ctl(&["backup", "create"]).expect(0).says(&["its copy was checked"]);
    let good = dumps(&stage).remove(0);
    assert_eq!(fs::read(&copied).unwrap(), fs::read(&good.file).unwrap());
    fs::remove_file(&copied).unwrap();
    fs::create_dir(&copied).unwrap();
    let told = stage.ctl(&["backup", "create"]).expect(1);
    told.says(&["was made, and is here, but was not copied", "`copy_check` ended with"]);
    assert_eq!(dumps(&stage).len(), 2, "it is here");

    // A dump that changed on its way.
    let bytes = fs::read(&good.file).unwrap();
    let mut bad = bytes.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&good.file, bad).unwrap();
    stage.ctl(&["backup", "verify", &good.name]).expect(1).says(&["is damaged", "SHA-256"]);
    stage.ctl(&["backup", "restore", &good.name, "--yes"]).expect(1).says(&["is damaged"]);
    fs::write(&good.file, bytes).unwrap();
    stage.ctl(&["backup", "verify", "shop-20200101T000000Z"]).expect(4).says(&["has no dump"]);
    stage.ctl(&["backup", "verify", "../../etc/passwd"]).expect(2);

    // A restore that fails in the middle.
    database.sql("shop", "INSERT INTO users VALUES (4, 'new')");
    database.sql("postgres", "ALTER ROLE shop NOCREATEDB");
    stage.ctl(&["backup", "restore", &good.name, "--yes"]).expect(1).says(&["permission denied"]);
    database.sql("postgres", "ALTER ROLE shop CREATEDB");
    // The dump needs a role that is gone; the role of the application cannot make it up.
    database.sql("shop", "CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO shop");
    database.sql("shop", "CREATE ROLE other; GRANT SELECT ON theirs TO other");
    fs::remove_dir_all(&copied).unwrap();
    stage.ctl(&["backup", "create"]).expect(0);
    let needs_role = dumps(&stage).pop().unwrap();
    database.sql("shop", "DROP OWNED BY other; DROP ROLE other");
    let told = stage.ctl(&["backup", "restore", &needs_role.name, "--yes"]).expect(1);
    told.says(&["pg_restore", "role \"other\" does not exist"]);
    assert_eq!(database.sql("shop", "SELECT count(*) FROM users"), "4", "it is as it was");
    assert_eq!(database.databases(), ["shop"], "nothing is left of the other");

    // A table that its role may not read; and no server at all.
    let before = files(&stage);
    database.sql("shop", "CREATE TABLE secret (id int)");
    let told = stage.ctl(&["backup", "create"]).expect(1);
    told.says(&["pg_dump", "permission denied for table secret"]);
    database.stop();
    let told = stage.ctl(&["backup", "create"]).expect(1);
    told.says(&["psql", "Connection refused"]);
    assert_eq!(files(&stage), before, "nothing is left of what failed");
    let words = stage.ctl(&["events", "--json"]).expect(0).stdout;
    assert!(words.contains("backup.failed") && !words.contains("hunter2"), "{words}");
}

/// `pg_dump` ends well, and its dump is none: it holds nothing, or its end did not fit on the disk.
#[test]
fn a_dump_that_is_not_whole_is_not_kept() {
    let (mut stage, database) = set();
    let programs = stage.path("programs");
    fs::create_dir(&programs).unwrap();
    for name in ["psql", "pg_restore"] {
        symlink(database.programs().join(name), programs.join(name)).unwrap();
    }
    let pg_dump = programs.join("pg_dump");
    fs::write(&pg_dump, "").unwrap();
    fs::set_permissions(&pg_dump, fs::Permissions::from_mode(0o755)).unwrap();
    stage.settings.set("apps.shop.database.programs", programs.to_str().unwrap());
    stage.start();
    let real = database.programs().join("pg_dump").display().to_string();
    for (how, told) in [
        (format!("exec {real} --exclude-table='*' \"$@\""), "lists no table"),
        (format!("exec {real} --exclude-table=users \"$@\""), "the dump lacks public.users"),
        (format!("{real} \"$@\" | head -c -20"), "end of file"),
        ("true".to_owned(), "input file is too short"),
    ] {
        fs::write(&pg_dump, format!("#!/bin/sh\n{how}\n")).unwrap();
        stage.ctl(&["backup", "create"]).expect(1).says(&[told]);
        assert_eq!(files(&stage), [""; 0], "{how}");
    }
    assert!(dumps(&stage).is_empty());
}

#[test]
fn two_at_once_are_refused_and_one_may_be_ended_early() {
    let (mut stage, database) = set();
    stage.start();
    // The dump waits for it, and so goes on.
    let sql = "BEGIN; LOCK TABLE users; SELECT pg_sleep(100)";
    let holding = database.begun("shop", sql);
    wait_for("the lock", LONG, || {
        let locks = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
                     AND relation = 'users'::regclass";
        (database.sql("shop", locks) == "1").then_some(())
    });
    let first = stage.ctl(&["backup", "create", "--no-wait", "--json"]).expect(0);
    let id = ended(&first).id;
    stage.ctl(&["backup", "create"]).expect(4).says(&["shop is busy", &format!("run {id}")]);
    wait_for("pg_dump to wait", LONG, || (!stage.processes("pg_dump").is_empty()).then_some(()));
    let told = stage.ctl(&["backup", "cancel", &id.to_string(), "--json"]).expect(0);
    assert_eq!(ended(&told).state, RunState::Failed);
    assert!(stage.processes("pg_dump").is_empty());
    assert_eq!(files(&stage), [""; 0]);

    // The daemon dies in the middle.
    let again = stage.ctl(&["backup", "create", "--no-wait", "--json"]).expect(0);
    wait_for("pg_dump to wait", LONG, || {
        (!files(&stage).is_empty() && !stage.processes("pg_dump").is_empty()).then_some(())
    });
    stage.kill_daemon();
    // The server does not notice that its client is gone.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep%' \
               AND pid <> pg_backend_pid()";
    database.sql("postgres", end);
    drop(holding);
    stage.restart_daemon();
    let id = ended(&again).id.to_string();
    stage.ctl(&["events"]).expect(0).says(&["was cut by the end of aibkd"]);
    stage.ctl(&["backup", "cancel", &id]).expect(4).says(&["it has ended"]);
    stage.ctl(&["backup", "create"]).expect(0);
    assert_eq!(files(&stage).len(), 2, "what was not whole is gone");
}

#[test]
fn a_dump_is_made_by_its_schedule_also_when_that_was_missed() {
    let (mut stage, _database) = set();
    stage.settings.set("apps.shop.backup.schedule", "0 0 1 1 *");
    stage.settings.set("apps.shop.backup.keep", json!({"daily": 1, "weekly": 0, "monthly": 0}));
    stage.start();
    stage.ctl(&["backup", "create"]).expect(0);
    let first = dumps(&stage).remove(0);
    stage.stop_daemon();
    let db = rusqlite::Connection::open(stage.path("state/aibk.db")).unwrap();
    let back = "UPDATE schedules SET dealt = dealt - 63072000000000 WHERE job = 'app:shop'";
    assert_eq!(db.execute(back, []).unwrap(), 1);
    drop(db);
    stage.restart_daemon();
    let made = wait_for("the dump that was missed", LONG, || {
        let all = dumps(&stage);
        let due = |dump: &&Backup| dump.known.as_ref().is_some_and(|k| k.reason == "schedule");
        all.iter().find(due).cloned()
    });
    wait_for("the older one to be let go", LONG, || {
        (dumps(&stage) == [made.clone()]).then_some(())
    });
    assert_ne!(made.name, first.name);
    stage.ctl(&["events"]).expect(0).says(&["shop was not dumped at", "1 older ones were let go"]);
    stage.ctl(&["backup", "prune", "--dry-run"]).expect(0).says(&["every dump is to be kept"]);
}
