//! The database's shape: how it is made, checked and brought up to date.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};

use super::error::StoreError;

/// `PRAGMA application_id` of every database of ours: "AIBK".
const APPLICATION: i64 = 0x4149_424b;

/// Each brings the database one version up; its place in the list is the version it starts from.
/// What has been released is never edited, only added to.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE slots (
        instance TEXT PRIMARY KEY,
        wanted INTEGER NOT NULL,
        release TEXT NOT NULL,
        directory TEXT NOT NULL,
        rollout INTEGER,
        generation INTEGER NOT NULL,
        identity TEXT
    ) STRICT;
    CREATE TABLE rollouts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        service TEXT NOT NULL,
        document TEXT NOT NULL,
        ended INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX one_open_rollout ON rollouts (service) WHERE ended = 0;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        service TEXT,
        instance TEXT,
        generation INTEGER,
        rollout INTEGER,
        message TEXT NOT NULL
    ) STRICT;
    CREATE TABLE counters (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;
    INSERT INTO counters VALUES ('generation', 1);
",
    "
    ALTER TABLE slots ADD COLUMN rest TEXT;
    CREATE TABLE daemons (
        boot TEXT NOT NULL,
        ended INTEGER NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE boots (service TEXT PRIMARY KEY, how TEXT NOT NULL) STRICT;
",
    "
    CREATE TABLE schedules (job TEXT PRIMARY KEY, dealt INTEGER NOT NULL) STRICT;
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job TEXT NOT NULL,
        cause TEXT NOT NULL,
        scheduled INTEGER,
        begun INTEGER NOT NULL,
        ended INTEGER,
        success INTEGER NOT NULL DEFAULT 0,
        told TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX runs_of_a_job ON runs (job, id);
",
    "
    CREATE INDEX rollouts_of_a_service ON rollouts (service, id);
",
    "
    CREATE TABLE deploys (
        id INTEGER PRIMARY KEY,
        app TEXT NOT NULL,
        document TEXT NOT NULL,
        ended INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX one_open_deploy ON deploys (app) WHERE ended = 0;
    CREATE INDEX deploys_of_an_app ON deploys (app, id);
",
    "
    ALTER TABLE rollouts ADD COLUMN deploy INTEGER;
    CREATE INDEX rollouts_of_a_deploy ON rollouts (deploy, id) WHERE deploy IS NOT NULL;
",
];

/// The newest version this program knows.
fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Makes `dir` if it is missing, for the daemon's user alone.
pub(super) fn make_directory(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| StoreError::Path { path: dir.to_owned(), source })
}

/// Opens the database at `path`, making it first where there is none.
///
/// Nothing is written to a database that is newer or damaged (`S4`).
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let exists =
        path.try_exists().map_err(|source| StoreError::Path { path: path.to_owned(), source })?;
    if !exists {
        create(path)?;
    }
    let mut db = connect(path)?;
    check(&db, path)?;
    let up_to_date = settle(&db).and_then(|()| migrate(&mut db));
    up_to_date.map_err(|e| StoreError::sqlite(path, "bring the state up to date", e))?;
    Ok(db)
}

/// Opens the database at `path` to be read beside whoever writes it.
pub(super) fn look(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(Duration::from_secs(2))?;
        Ok(db)
    };
    let db = open().map_err(|e| StoreError::sqlite(path, "open the state", e))?;
    check(&db, path)?;
    Ok(db)
}

/// Makes a database under another name and renames it when it is whole, so that an empty or
/// half-made file under its own name is always damage, never a beginning.
fn create(path: &Path) -> Result<(), StoreError> {
    if beside(path, "-wal").exists() {
        let detail = "its -wal file is there without it".to_owned();
        return Err(StoreError::Damaged { path: path.to_owned(), detail });
    }
    let new = beside(path, ".new");
    let made = || -> io::Result<()> {
        for leftover in ["", "-wal", "-shm", "-journal"] {
            remove(&beside(&new, leftover))?;
        }
        // The -wal and -shm files get the mode of the database from SQLite.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map(drop)
    };
    made().map_err(|source| StoreError::Path { path: new.clone(), source })?;
    let fill = || -> rusqlite::Result<()> {
        let mut db = raw(&new)?;
        db.pragma_update(None, "application_id", APPLICATION)?;
        settle(&db)?;
        // Nothing in it has to last before all of it does, below.
        db.pragma_update(None, "synchronous", "OFF")?;
        migrate(&mut db)?;
        db.close().map_err(|(_, e)| e)
    };
    fill().map_err(|e| StoreError::sqlite(&new, "make the state", e))?;
    let place = || -> io::Result<()> {
        File::open(&new)?.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    place().map_err(|source| StoreError::Path { path: path.to_owned(), source })
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let open = || -> rusqlite::Result<Connection> {
        let db = raw(path)?;
        // Until it is known to be ours, closing it must not copy the log into it.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(db)
    };
    open().map_err(|e| StoreError::sqlite(path, "open the state", e))
}

fn raw(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::from_secs(2))?;
    // Memory: 256 KiB of pages at most, nothing mapped.
    db.pragma_update(None, "cache_size", -256)?;
    db.pragma_update(None, "mmap_size", 0)?;
    // A plan is made once, and not anew for each value that is asked for.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(db)
}

/// Reads only.
fn check(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let unreadable = |e: rusqlite::Error| StoreError::sqlite(path, "read the state", e);
    let damaged = |detail: String| StoreError::Damaged { path: path.to_owned(), detail };
    let number = |pragma| {
        db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(unreadable)
    };
    if number("application_id")? != APPLICATION {
        return Err(damaged("it is no database of aibk".to_owned()));
    }
    let found = number("user_version")?;
    if found > known() {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: known() });
    }
    if found < 1 {
        return Err(damaged(format!("it says it is of version {found}")));
    }
    let verdict: String =
        db.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(unreadable)?;
    if verdict == "ok" { Ok(()) } else { Err(damaged(verdict)) }
}

/// Sets what lasts as long as the connection.
fn settle(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", 256)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Applies what is missing.
fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
    let mut version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let missing = MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0));
    for migration in missing {
        version += 1;
        let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", version)?;
        step.commit()?;
    }
    Ok(())
}

/// `path` with `suffix` added to its file name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
