//! Making a dump. Each part of "it is saved" is seen: an exit status, a list of contents, a hash.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _, Seek as _},
    os::fd::OwnedFd,
    time::Duration,
};

use jiff::{Timestamp, ToSpan as _};
use sha2::{Digest as _, Sha256};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    BackupError, Claim, Copied, DumpName, Manifest, Progress, Reason, Shelf, Tell, contents,
    manifest::{FORM, oddly_small},
    shelf::Partial,
    upload,
};
use crate::{
    config::App,
    ident::ReleaseId,
    postgres::{Facts, Postgres, PostgresError, Program, Table},
    process::{Files, Launcher},
    sync_point,
    sys::blocking,
};

/// How often it is told how far a dump is.
const TELL: Duration = Duration::from_secs(1);

/// Room that is left on the disk whatever a dump takes, in bytes.
const RESERVE: u64 = 64 * 1024 * 1024;

/// A disk with less room than this is full, in bytes.
const FULL: u64 = 1024 * 1024;

/// A dump that waits for a lock longer than this fails instead, in milliseconds: others queue
/// behind it.
const LOCKS: &str = "--lock-wait-timeout=60000";

/// What kind of dump is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Why.
    pub reason: Reason,
    /// The release that is live.
    pub release: Option<ReleaseId>,
    /// Retention is to leave it alone.
    pub pinned: bool,
}

impl Order {
    /// One that retention may take.
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        Self { reason, release: None, pinned: false }
    }
}

/// Dumps the database of `app` into its directory, within `backup.deadline`.
///
/// When this returns a manifest, the dump is on the disk under its name, was listed against the
/// tables of the database, read to its end, and hashed (`D1`); a copy that failed is told in it
/// ([`Manifest::copied`]). When it fails, or this future is dropped, nothing of it is left, and
/// whatever it ran is ended. It may be called again: that makes another dump. It needs a runtime.
///
/// # Errors
/// What failed, and what to do; [`BackupError::Busy`] where another one of `app` goes on.
pub async fn create(
    launcher: &Launcher,
    app: &App,
    order: Order,
    tell: Tell<'_>,
) -> Result<Manifest, BackupError> {
    let shelf = Shelf::of(app)?;
    let within = app.backup.as_ref().map_or(Duration::ZERO, |backup| backup.deadline);
    let _hold = shelf.claim(Claim::Alone).await?;
    shelf.sweep().await?;
    let postgres = Postgres::open(launcher, app, within).await?;
    let known = shelf.manifests().await?;
    let last = known.iter().rfind(|dump| dump.database == postgres.database());
    tell(Progress::Asking);
    let before = postgres.facts(None).await?;
    check_space(&shelf, &postgres, &before, last).await?;
    let name = next_name(app, &shelf).await?;
    let partial = shelf.begin(name.dump()).await?;
    dump(&postgres, &shelf, &partial, last, tell).await?;
    sync_point!("backup.dumped");
    tell(Progress::Listing);
    let tables = match check_contents(&postgres, &partial, &before).await {
        Ok(tables) => tables,
        // The disk may have been full before the end of it, which pg_dump does not always tell.
        Err(_) if shelf.free().await? < FULL => {
            return Err(BackupError::Full(shelf.directory().to_owned()));
        }
        Err(e) => return Err(e),
    };
    tell(Progress::Hashing);
    let (size, sha256) = hash(copy_of(&partial, &shelf)?, postgres.left())
        .await
        .map_err(BackupError::file("read", shelf.path(&name)))?;
    let manifest = Manifest {
        form: FORM,
        done: Timestamp::now(),
        database: postgres.database().to_owned(),
        server: before.server,
        size,
        database_size: before.size,
        sha256,
        reason: order.reason,
        release: order.release,
        revisions: before.revisions,
        tables,
        pinned: order.pinned,
        copied: Copied::None,
        warnings: oddly_small(size, last).into_iter().collect(),
        name,
    };
    shelf.place(partial, &manifest).await?;
    copied(launcher, app, &shelf, manifest, &postgres, tell).await
}

/// `manifest` once the operator's own command has copied its dump, where there is one.
async fn copied(
    launcher: &Launcher,
    app: &App,
    shelf: &Shelf,
    manifest: Manifest,
    postgres: &Postgres<'_>,
    tell: Tell<'_>,
) -> Result<Manifest, BackupError> {
    let Some(upload) = app.backup.as_ref().and_then(|backup| backup.upload.as_ref()) else {
        return Ok(manifest);
    };
    let file = shelf.path(&manifest.name);
    let job = upload::Job { launcher, app: &app.name, manifest: &manifest, file: &file };
    let copied = job.run(upload, postgres.left(), tell).await;
    let manifest = Manifest { copied, ..manifest };
    shelf.describe(&manifest).await?;
    Ok(manifest)
}

/// A dump is compressed, so the database's own size is more than it needs; the last one tells more.
async fn check_space(
    shelf: &Shelf,
    postgres: &Postgres<'_>,
    facts: &Facts,
    last: Option<&Manifest>,
) -> Result<(), BackupError> {
    let needed = match last {
        Some(last) => {
            // It has grown as the database has.
            let grown = u128::from(last.size) * u128::from(facts.size);
            let grown = grown / u128::from(last.database_size.max(1));
            u64::try_from(grown).unwrap_or(u64::MAX).min(facts.size).max(last.size)
        }
        None => facts.size,
    };
    let needed = needed.saturating_add(RESERVE);
    let free = shelf.free().await?;
    if free < needed {
        let directory = shelf.directory().to_owned();
        return Err(BackupError::Space {
            database: postgres.database().to_owned(),
            directory,
            needed,
            free,
        });
    }
    Ok(())
}

/// The present second, or the first one after it that has no dump yet.
async fn next_name(app: &App, shelf: &Shelf) -> Result<DumpName, BackupError> {
    let taken = shelf.list().await?;
    let mut name = DumpName::new(app.name.clone(), Timestamp::now());
    while taken.iter().any(|dump| dump.name == name) {
        name.at = name.at.checked_add(1.second()).unwrap_or(name.at);
    }
    Ok(name)
}

/// Writes the dump, and tells how far it is.
async fn dump(
    postgres: &Postgres<'_>,
    shelf: &Shelf,
    partial: &Partial,
    last: Option<&Manifest>,
    tell: Tell<'_>,
) -> Result<(), BackupError> {
    let args = ["--format=custom", "--no-password", LOCKS].map(Into::into);
    let output = Some(OwnedFd::from(copy_of(partial, shelf)?));
    let files = Files { input: None, output };
    let program = Program { name: "pg_dump", args: &args, database: None, files };
    let last = last.map(|last| last.size);
    let telling = async {
        let mut clock = interval(TELL);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let written = partial.file().metadata().map_or(0, |data| data.len());
            tell(Progress::Dumping { written, last });
        }
    };
    let done = tokio::select! {
        done = postgres.run(program) => done,
        never = telling => never,
    };
    match done {
        Err(PostgresError::Failed { words, .. }) if is_full(&words) => {
            Err(BackupError::Full(shelf.directory().to_owned()))
        }
        done => done.map(drop).map_err(BackupError::from),
    }
}

/// What `pg_dump` says of a full disk; its status is the same for everything.
fn is_full(words: &str) -> bool {
    [io::Error::from_raw_os_error(28), io::Error::from_raw_os_error(122)]
        .iter()
        .filter_map(|e| e.to_string().split(" (os").next().map(str::to_owned))
        .any(|told| words.contains(&told))
}

/// Compares what the dump lists with the tables that the database had before and has now; gives
/// those. What came or went meanwhile may be in it or not.
async fn check_contents(
    postgres: &Postgres<'_>,
    partial: &Partial,
    before: &Facts,
) -> Result<Vec<Table>, BackupError> {
    let after = postgres.facts(None).await?;
    let is_still_there = |table: &&Table| {
        let same = |other: &Table| (&other.schema, &other.name) == (&table.schema, &table.name);
        after.tables.iter().any(same)
    };
    let tables: Vec<Table> = before.tables.iter().filter(is_still_there).cloned().collect();
    let file = partial.file().try_clone();
    let file = file.map_err(BackupError::file("read", postgres.database()))?;
    let list = list(postgres, file).await?;
    if !tables.is_empty() && !contents::has_tables(&list) {
        let database = postgres.database().to_owned();
        return Err(BackupError::Empty { database, tables: tables.len() });
    }
    let missing = contents::lacking(&list, &tables);
    if !missing.is_empty() {
        return Err(BackupError::Lacks { what: "the dump".to_owned(), missing });
    }
    read_whole(postgres, partial).await?;
    Ok(tables)
}

/// Has the data of the dump read to its end, as a restore would. `pg_dump` 15 ends with 0 where the last
/// of what it wrote did not fit on the disk, and the list is at the front.
async fn read_whole(postgres: &Postgres<'_>, partial: &Partial) -> Result<(), BackupError> {
    let read = || BackupError::file("read", postgres.database());
    let mut file = partial.file().try_clone().map_err(read())?;
    file.rewind().map_err(read())?;
    let files = Files { input: Some(file.into()), output: None };
    let args = ["--file=/dev/null".into()];
    let program = Program { name: "pg_restore", args: &args, database: None, files };
    postgres.run(program).await.map(drop).map_err(BackupError::from)
}

/// `pg_restore --list` of the dump in `file`.
pub(super) async fn list(postgres: &Postgres<'_>, mut file: File) -> Result<String, BackupError> {
    file.rewind().map_err(BackupError::file("read", postgres.database()))?;
    let files = Files { input: Some(file.into()), output: None };
    let args = ["--list".into()];
    let program = Program { name: "pg_restore", args: &args, database: None, files };
    Ok(postgres.run(program).await?)
}

/// Bytes and SHA-256 of `file`.
pub(super) async fn hash(file: File, within: Duration) -> io::Result<(u64, String)> {
    blocking::within(within, move || digest(file)).await?
}

fn digest(mut file: File) -> io::Result<(u64, String)> {
    file.rewind()?;
    let mut buffer = vec![0; 1 << 17];
    let (mut size, mut hash) = (0, Sha256::new());
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                size += n as u64;
                hash.update(buffer.get(..n).unwrap_or_default());
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let mut digits = String::new();
    for byte in hash.finalize() {
        let _ = write!(digits, "{byte:02x}");
    }
    Ok((size, digits))
}

fn copy_of(partial: &Partial, shelf: &Shelf) -> Result<File, BackupError> {
    partial.file().try_clone().map_err(BackupError::file("write to", shelf.directory()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_file_is_hashed_whole() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let (size, digits) = hash(file, Duration::from_secs(20)).await.unwrap();
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((size, digits.as_str()), (3, known));
    }

    #[test]
    fn a_full_disk_is_known_by_the_words() {
        assert!(is_full("pg_dump: error: could not write to output file: No space left on device"));
        assert!(is_full("Disk quota exceeded"));
        assert!(!is_full("pg_dump: error: connection failed"));
    }
}
