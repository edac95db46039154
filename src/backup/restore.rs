//! Bringing a dump back: into a database of its own, which then takes the other's place, or is only
//! looked at.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    BackupError, Claim, Manifest, Progress, Shelf, Tell, contents,
    create::{hash, list},
    scratch::{self, Purpose},
};
use crate::{
    config::App,
    postgres::{Facts, Postgres, PostgresError, Program, Table, identifier, literal},
    process::{Files, Launcher},
    sync_point,
};

/// Databases are made, dropped and renamed from here.
const ELSEWHERE: Option<&str> = Some("postgres");

/// How long it may take to drop what is not needed any more.
const TIDY: Duration = Duration::from_secs(60);

/// How often the swap is tried: whoever was cut off may be back before it.
const SWAPS: u32 = 5;

/// How thoroughly a dump is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Its hash, and the list of its contents.
    Listed,
    /// It is restored as well, and the rows are counted.
    Drilled,
}

/// What was found in a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Which.
    pub manifest: Manifest,
    /// Its tables with the rows that were counted, where it was restored.
    pub counted: Option<Vec<Table>>,
}

/// A database that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The dump that it is now.
    pub manifest: Manifest,
    /// What the old one is called now.
    pub old: String,
}

/// Looks whether the dump `name` of `app` is whole and can be used.
///
/// # Errors
/// What is wrong with it; or what failed.
pub async fn verify(
    launcher: &Launcher,
    app: &App,
    name: &str,
    depth: Depth,
    tell: Tell<'_>,
) -> Result<Verified, BackupError> {
    let shelf = Shelf::of(app)?;
    let claim = match depth {
        Depth::Listed => Claim::Reading,
        Depth::Drilled => Claim::Alone,
    };
    let _hold = shelf.claim(claim).await?;
    let postgres = Postgres::open(launcher, app, deadline(app)).await?;
    let manifest = shelf.find(name).await?;
    check_file(&postgres, &shelf, &manifest, tell).await?;
    let counted = match depth {
        Depth::Listed => None,
        Depth::Drilled => {
            let drill = fill(&postgres, &shelf, &manifest, Purpose::Drill, tell);
            let counted = match drill.await {
                Ok(scratch) => count(&postgres, &manifest, &scratch, tell).await,
                Err(e) => Err(e),
            };
            tidy(launcher, app).await;
            Some(counted?)
        }
    };
    Ok(Verified { manifest, counted })
}

/// Makes the database of `app` what the dump `name` is. It is restored beside it first; then the two
/// change their names in one transaction, in which whoever is connected is cut off. The old database
/// stays under another name. Whatever fails before, the database is as it was.
///
/// # Errors
/// What failed; the database is as it was.
pub async fn restore(
    launcher: &Launcher,
    app: &App,
    name: &str,
    tell: Tell<'_>,
) -> Result<Restored, BackupError> {
    let shelf = Shelf::of(app)?;
    let _hold = shelf.claim(Claim::Alone).await?;
    let postgres = Postgres::open(launcher, app, deadline(app)).await?;
    let manifest = shelf.find(name).await?;
    check_file(&postgres, &shelf, &manifest, tell).await?;
    let done = match fill(&postgres, &shelf, &manifest, Purpose::Restore, tell).await {
        Ok(scratch) => take_place(&postgres, &scratch, tell).await,
        Err(e) => Err(e),
    };
    if done.is_err() {
        tidy(launcher, app).await;
    }
    done.map(|old| Restored { manifest, old })
}

/// Drops what a restore or a drill that was cut has left beside the database of `app`. What cannot be
/// dropped now is dropped by the next one.
pub async fn tidy(launcher: &Launcher, app: &App) {
    let tidied = async {
        let postgres = Postgres::open(launcher, app, TIDY).await?;
        drop_left_over(&postgres).await
    };
    if let Err(e) = tidied.await {
        tracing::warn!(app = %app.name, "a database that is not needed any more stays: {e}");
    }
}

fn deadline(app: &App) -> Duration {
    app.backup.as_ref().map_or(Duration::ZERO, |backup| backup.deadline)
}

/// Whether the file is what was written, and lists what it listed.
async fn check_file(
    postgres: &Postgres<'_>,
    shelf: &Shelf,
    manifest: &Manifest,
    tell: Tell<'_>,
) -> Result<(), BackupError> {
    tell(Progress::Hashing);
    let path = shelf.path(&manifest.name);
    let open = || File::open(&path).map_err(BackupError::file("read", &path));
    let hashed = hash(open()?, postgres.left()).await;
    let (size, sha256) = hashed.map_err(BackupError::file("read", &path))?;
    let damaged = |why| Err(BackupError::Damaged { name: manifest.name.clone(), why });
    if size != manifest.size {
        return damaged(format!("it has {size} bytes, and {} were written", manifest.size));
    }
    if sha256 != manifest.sha256 {
        return damaged("its bytes are not those that were written (SHA-256)".to_owned());
    }
    tell(Progress::Listing);
    let listed = list(postgres, open()?).await?;
    match contents::lacking(&listed, &manifest.tables) {
        missing if missing.is_empty() => Ok(()),
        missing => Err(BackupError::Lacks { what: manifest.name.to_string(), missing }),
    }
}

/// Restores the dump into a new database, in one transaction, and sees that every table is there.
async fn fill(
    postgres: &Postgres<'_>,
    shelf: &Shelf,
    manifest: &Manifest,
    purpose: Purpose,
    tell: Tell<'_>,
) -> Result<String, BackupError> {
    tell(Progress::Restoring);
    drop_left_over(postgres).await?;
    let scratch = scratch::beside(postgres.database(), purpose, Timestamp::now());
    let like = Like::read(postgres).await?;
    postgres.query(ELSEWHERE, &[&like.create(&scratch)]).await?;
    sync_point!("backup.scratch");
    let path = shelf.path(&manifest.name);
    let file = File::open(&path).map_err(BackupError::file("read", &path))?;
    let args = ["--single-transaction", "--exit-on-error", "--no-password", "--dbname"];
    let mut args: Vec<_> = args.map(Into::into).into();
    args.push(scratch.as_str().into());
    let files = Files { input: Some(file.into()), output: None };
    let program = Program { name: "pg_restore", args: &args, database: Some(&scratch), files };
    postgres.run(program).await?;
    postgres.query(Some(&scratch), &["ANALYZE"]).await?;
    let Facts { tables, .. } = postgres.facts(Some(&scratch)).await?;
    let there = |table: &&Table| {
        let same = |other: &Table| (&other.schema, &other.name) == (&table.schema, &table.name);
        tables.iter().any(same)
    };
    let missing: Vec<Table> = manifest.tables.iter().filter(|t| !there(t)).cloned().collect();
    if missing.is_empty() {
        Ok(scratch)
    } else {
        Err(BackupError::Lacks { what: format!("what {} restores", manifest.name), missing })
    }
}

async fn count(
    postgres: &Postgres<'_>,
    manifest: &Manifest,
    scratch: &str,
    tell: Tell<'_>,
) -> Result<Vec<Table>, BackupError> {
    let mut counted = Vec::new();
    for table in &manifest.tables {
        tell(Progress::Counting { table: format!("{}.{}", table.schema, table.name) });
        let rows = postgres.count(scratch, table).await?;
        counted.push(Table { rows, ..table.clone() });
    }
    Ok(counted)
}

/// The databases change their names; gives that of the old one.
async fn take_place(
    postgres: &Postgres<'_>,
    scratch: &str,
    tell: Tell<'_>,
) -> Result<String, BackupError> {
    tell(Progress::Swapping);
    let database = postgres.database();
    let old = scratch::beside(database, Purpose::Old, Timestamp::now());
    let statements = scratch::swap(database, scratch, &old);
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let mut tries = 0;
    loop {
        tries += 1;
        let begun = Instant::now();
        match postgres.transact(ELSEWHERE, &statements).await {
            Ok(_) => return Ok(old),
            // Somebody was quicker: PostgreSQL has waited for him for some seconds already.
            Err(PostgresError::Failed { words, .. })
                if tries < SWAPS && words.contains("being accessed by other users") =>
            {
                tracing::info!(took = ?begun.elapsed(), "{database} is used again; trying once more");
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// How a database was made.
#[derive(Debug, Deserialize)]
struct Like {
    owner: String,
    encoding: String,
    datcollate: String,
    datctype: String,
    /// `i` where its collation is ICU's; known from PostgreSQL 15 on.
    #[serde(default)]
    datlocprovider: Option<String>,
    /// `daticulocale` until PostgreSQL 16.
    #[serde(default, alias = "daticulocale")]
    datlocale: Option<String>,
}

const LIKE: &str = "
SELECT to_jsonb(d) || jsonb_build_object(
    'owner', pg_get_userbyid(d.datdba), 'encoding', pg_encoding_to_char(d.encoding))
FROM pg_catalog.pg_database d WHERE d.datname = current_database()";

impl Like {
    async fn read(postgres: &Postgres<'_>) -> Result<Self, BackupError> {
        let answer = postgres.query(None, &[LIKE]).await?;
        let read = serde_json::from_str(answer.trim());
        let wrong =
            |e: serde_json::Error| PostgresError::Answer { program: "psql", why: e.to_string() };
        Ok(read.map_err(wrong)?)
    }

    /// What makes another one like it.
    fn create(&self, name: &str) -> String {
        let icu = match (self.datlocprovider.as_deref(), &self.datlocale) {
            (Some("i"), Some(locale)) => {
                format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale))
            }
            _ => String::new(),
        };
        format!(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}{icu}",
            identifier(name),
            identifier(&self.owner),
            literal(&self.encoding),
            literal(&self.datcollate),
            literal(&self.datctype),
        )
    }
}

async fn drop_left_over(postgres: &Postgres<'_>) -> Result<(), BackupError> {
    let all = "SELECT coalesce(json_agg(datname), '[]') FROM pg_catalog.pg_database";
    let answer = postgres.query(ELSEWHERE, &[all]).await?;
    let names: Vec<String> = serde_json::from_str(answer.trim())
        .map_err(|e| PostgresError::Answer { program: "psql", why: e.to_string() })?;
    for name in names.iter().filter(|name| scratch::is_left_over(postgres.database(), name)) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name));
        postgres.query(ELSEWHERE, &[&drop]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_is_made_like_the_first() {
        let read = |text: &str| serde_json::from_str::<Like>(text).unwrap().create("n");
        let plain = r#"{"owner": "me", "encoding": "UTF8", "datcollate": "C", "datctype": "C",
                        "datlocprovider": "c", "daticulocale": null, "datname": "x"}"#;
        assert_eq!(
            read(plain),
            "CREATE DATABASE \"n\" OWNER \"me\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' \
             LC_CTYPE 'C'"
        );
        let icu = plain.replace("\"c\"", "\"i\"").replace("null", "\"de-x-icu\"");
        assert!(read(&icu).ends_with(" LOCALE_PROVIDER icu ICU_LOCALE 'de-x-icu'"));
    }
}
