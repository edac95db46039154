//! Runs of jobs and of what is done for an application, and up to which moment the schedule of each
//! has been dealt with.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use super::columns::{number, parsed, signed};
use crate::ident::{AppName, InvalidName, ServiceName};

/// Whose run it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// A job's.
    Job(ServiceName),
    /// An application's: a dump, a check, a restore.
    App(AppName),
}

/// What the text of an application's begins with; no name of a job has a colon.
const APP: &str = "app:";

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(name) => name.fmt(f),
            Self::App(name) => write!(f, "{APP}{name}"),
        }
    }
}

impl FromStr for Whose {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.strip_prefix(APP) {
            Some(app) => app.parse().map(Self::App),
            None => text.parse().map(Self::Job),
        }
    }
}

impl From<&ServiceName> for Whose {
    fn from(name: &ServiceName) -> Self {
        Self::Job(name.clone())
    }
}

impl From<&Self> for Whose {
    fn from(whose: &Self) -> Self {
        whose.clone()
    }
}

impl From<&AppName> for Whose {
    fn from(name: &AppName) -> Self {
        Self::App(name.clone())
    }
}

/// Runs of each that are kept.
const KEPT: i64 = 100;

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its number, over all jobs.
    pub id: u64,
    /// Whose.
    pub job: Whose,
    /// Why it ran, for people.
    pub cause: String,
    /// The moment of the schedule that it is for.
    pub scheduled: Option<Timestamp>,
    /// When it began.
    pub begun: Timestamp,
    /// Its end; `None` while it goes on.
    pub end: Option<RunEnd>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// When.
    pub at: Timestamp,
    /// It did what it is for.
    pub success: bool,
    /// How, for people; more than one line where it failed.
    pub told: String,
}

/// A run that begins; its number is given when it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Whose.
    pub job: Whose,
    /// Why.
    pub cause: String,
    /// The moment of the schedule that it is for: with it, that has been dealt with.
    pub scheduled: Option<Timestamp>,
    /// When.
    pub begun: Timestamp,
}

pub(super) fn begin(db: &Connection, new: NewRun) -> rusqlite::Result<RunRow> {
    let NewRun { job, cause, scheduled, begun } = new;
    db.execute(
        "INSERT INTO runs (job, cause, scheduled, begun) VALUES (?1, ?2, ?3, ?4)",
        params![
            job.to_string(),
            cause,
            scheduled.map(Timestamp::as_microsecond),
            begun.as_microsecond()
        ],
    )?;
    let id = number(0, db.last_insert_rowid())?;
    db.execute(
        "DELETE FROM runs WHERE job = ?1 AND id NOT IN
             (SELECT id FROM runs WHERE job = ?1 ORDER BY id DESC LIMIT ?2)",
        params![job.to_string(), KEPT],
    )?;
    if let Some(moment) = scheduled {
        deal(db, &job, moment)?;
    }
    Ok(RunRow { id, job, cause, scheduled, begun, end: None })
}

pub(super) fn end(db: &Connection, id: u64, end: &RunEnd) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE runs SET ended = ?2, success = ?3, told = ?4 WHERE id = ?1",
        params![signed(id), end.at.as_microsecond(), end.success, end.told],
    )
    .map(drop)
}

/// The schedule of `job` has been dealt with up to `moment`.
pub(super) fn deal(db: &Connection, job: &Whose, moment: Timestamp) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO schedules (job, dealt) VALUES (?1, ?2)
         ON CONFLICT (job) DO UPDATE SET dealt = excluded.dealt",
        params![job.to_string(), moment.as_microsecond()],
    )
    .map(drop)
}

pub(super) fn dealt(db: &Connection, job: &Whose) -> rusqlite::Result<Option<Timestamp>> {
    db.query_row("SELECT dealt FROM schedules WHERE job = ?1", [job.to_string()], |row| {
        moment(0, row.get(0)?)
    })
    .optional()
}

const COLUMNS: &str = "id, job, cause, scheduled, begun, ended, success, told";

pub(super) fn one(db: &Connection, id: u64) -> rusqlite::Result<Option<RunRow>> {
    let query = format!("SELECT {COLUMNS} FROM runs WHERE id = ?1");
    db.query_row(&query, [signed(id)], read).optional()
}

/// The last `n`, newest first.
pub(super) fn last(db: &Connection, job: &Whose, n: usize) -> rusqlite::Result<Vec<RunRow>> {
    let query = format!("SELECT {COLUMNS} FROM runs WHERE job = ?1 ORDER BY id DESC LIMIT ?2");
    let n = i64::try_from(n).unwrap_or(i64::MAX);
    db.prepare(&query)?.query_map(params![job.to_string(), n], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let optional = |column: usize| -> rusqlite::Result<Option<Timestamp>> {
        row.get::<_, Option<i64>>(column)?.map(|at| moment(column, at)).transpose()
    };
    let end = match optional(5)? {
        Some(at) => Some(RunEnd { at, success: row.get(6)?, told: row.get(7)? }),
        None => None,
    };
    Ok(RunRow {
        id: number(0, row.get(0)?)?,
        job: parsed(row, 1)?,
        cause: row.get(2)?,
        scheduled: optional(3)?,
        begun: moment(4, row.get(4)?)?,
        end,
    })
}

fn moment(column: usize, at: i64) -> rusqlite::Result<Timestamp> {
    let wrong = |e| rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, Box::new(e));
    Timestamp::from_microsecond(at).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn runs_are_kept_with_what_they_dealt_with() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let job = Whose::Job(ServiceName::new("backup").unwrap());
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(store.dealt(&job).await.unwrap(), None);
        let new = |scheduled| NewRun {
            job: job.clone(),
            cause: "its schedule".to_owned(),
            scheduled,
            begun: at(7),
        };
        let first = store.begin_run(new(Some(at(5)))).await.unwrap();
        assert_eq!(store.dealt(&job).await.unwrap(), Some(at(5)));
        let end = RunEnd { at: at(9), success: false, told: "ended\nwith words".to_owned() };
        store.end_run(first.id, end.clone()).await.unwrap();
        let ended = RunRow { end: Some(end), ..first };
        assert_eq!(store.run(ended.id).await.unwrap(), Some(ended.clone()));
        for _ in 0..KEPT {
            store.begin_run(new(None)).await.unwrap();
        }
        assert_eq!(store.dealt(&job).await.unwrap(), Some(at(5)), "asked for, not scheduled");
        let runs = store.runs(&job, 1000).await.unwrap();
        assert_eq!(runs.len(), usize::try_from(KEPT).unwrap());
        assert!(runs.is_sorted_by(|a, b| a.id > b.id) && !runs.contains(&ended));
        let app = Whose::App(AppName::new("backup").unwrap());
        assert_eq!(store.runs(&app, 1).await.unwrap(), [], "a job of the same name is another");
        let of_app =
            store.begin_run(NewRun { job: app.clone(), ..new(Some(at(3))) }).await.unwrap();
        assert_eq!(store.runs(&app, 9).await.unwrap(), [of_app]);
        assert_eq!(store.dealt(&app).await.unwrap(), Some(at(3)));
    }
}
