//! Rollouts: at most one per service that has not ended (`S2`), held to by a unique index.

use rusqlite::{Connection, Error, OptionalExtension, Row, ffi, params};

use super::columns::{number, parsed, signed};
use crate::ident::{RolloutId, ServiceName};

/// A rollout as it is kept. `document` is the rollout room's own, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRow {
    /// Its id.
    pub id: RolloutId,
    /// Whose.
    pub service: ServiceName,
    /// The rollout room's document.
    pub document: String,
    /// It has ended.
    pub ended: bool,
}

/// So many of the newest are kept, beside those that have not ended: some 20 MiB. A service that dies
/// again and again has two at each death.
const KEPT: u64 = 10_000;
/// Old ones are looked for at every so many.
const PRUNED_EVERY: u64 = 100;

/// Writes the documents of several rollouts, which have these ids, in this order.
pub type Documents = Box<dyn FnOnce(&[RolloutId]) -> Vec<String> + Send>;

/// Why a rollout was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// This one of the same service has not ended.
    Busy(RolloutId),
    /// It was never begun.
    Missing,
}

pub(super) fn begin(
    db: &Connection,
    service: ServiceName,
    document: Box<dyn FnOnce(RolloutId) -> String + Send>,
) -> rusqlite::Result<Result<RolloutRow, Refused>> {
    let insert = "INSERT INTO rollouts (service, document, ended) VALUES (?1, '', 0)";
    let inserted = db.prepare_cached(insert).and_then(|mut i| i.execute([service.as_str()]));
    if let Some(refused) = refusal(db, &service, inserted)? {
        return Ok(Err(refused));
    }
    let id = RolloutId(number(0, db.last_insert_rowid())?);
    let document = document(id);
    db.prepare_cached("UPDATE rollouts SET document = ?2 WHERE id = ?1")?
        .execute(params![signed(id.0), document])?;
    if id.0.is_multiple_of(PRUNED_EVERY) {
        prune(db, id)?;
    }
    Ok(Ok(RolloutRow { id, service, document, ended: false }))
}

fn prune(db: &Connection, newest: RolloutId) -> rusqlite::Result<usize> {
    let newest_gone = newest.0.saturating_sub(KEPT);
    db.execute("DELETE FROM rollouts WHERE id <= ?1 AND ended = 1", [signed(newest_gone)])
}

/// One rollout of each of `services`, or none of any; parts of `deploy`, where one is named.
pub(super) fn begin_all(
    db: &Connection,
    services: &[ServiceName],
    deploy: Option<RolloutId>,
    documents: Documents,
) -> rusqlite::Result<Result<Vec<RolloutRow>, Refused>> {
    let mut held = db.prepare("SELECT id FROM rollouts WHERE service = ?1 AND ended = 0")?;
    for service in services {
        if let Some(holder) = held.query_row([service.as_str()], |row| row.get(0)).optional()? {
            return Ok(Err(Refused::Busy(RolloutId(number(0, holder)?))));
        }
    }
    let mut insert = db.prepare(
        "INSERT INTO rollouts (service, document, ended, deploy) VALUES (?1, '', 0, ?2)",
    )?;
    let deploy = deploy.map(|deploy| signed(deploy.0));
    let mut ids = vec![];
    for service in services {
        ids.push(RolloutId(number(0, insert.insert(params![service.as_str(), deploy])?)?));
    }
    let mut update = db.prepare("UPDATE rollouts SET document = ?2 WHERE id = ?1")?;
    let mut rows = vec![];
    for ((id, service), document) in ids.iter().zip(services).zip(documents(&ids)) {
        update.execute(params![signed(id.0), document])?;
        rows.push(RolloutRow { id: *id, service: service.clone(), document, ended: false });
    }
    Ok(Ok(rows))
}

pub(super) fn put(db: &Connection, row: &RolloutRow) -> rusqlite::Result<Result<(), Refused>> {
    let update = "UPDATE rollouts SET document = ?2, ended = ?3 WHERE id = ?1";
    let values = params![signed(row.id.0), row.document, row.ended];
    let written = db.prepare_cached(update).and_then(|mut update| update.execute(values));
    if let Some(refused) = refusal(db, &row.service, written)? {
        return Ok(Err(refused));
    }
    Ok(Ok(()))
}

/// Why a write that answered `written` did nothing, if so. Other errors are passed on.
fn refusal(
    db: &Connection,
    service: &ServiceName,
    written: rusqlite::Result<usize>,
) -> rusqlite::Result<Option<Refused>> {
    match written {
        Ok(0) => Ok(Some(Refused::Missing)),
        Ok(_) => Ok(None),
        Err(Error::SqliteFailure(e, _)) if e.extended_code == ffi::SQLITE_CONSTRAINT_UNIQUE => {
            let holder = db.query_row(
                "SELECT id FROM rollouts WHERE service = ?1 AND ended = 0",
                [service.as_str()],
                |row| row.get(0),
            )?;
            Ok(Some(Refused::Busy(RolloutId(number(0, holder)?))))
        }
        Err(other) => Err(other),
    }
}

pub(super) fn one(db: &Connection, id: RolloutId) -> rusqlite::Result<Option<RolloutRow>> {
    db.prepare("SELECT id, service, document, ended FROM rollouts WHERE id = ?1")?
        .query_row([signed(id.0)], read)
        .optional()
}

pub(super) fn last(db: &Connection, n: usize) -> rusqlite::Result<Vec<RolloutRow>> {
    db.prepare(
        "SELECT id, service, document, ended FROM rollouts
         WHERE ended = 0 OR id IN (SELECT id FROM rollouts ORDER BY id DESC LIMIT ?1)
         ORDER BY id DESC",
    )?
    .query_map([i64::try_from(n).unwrap_or(i64::MAX)], read)?
    .collect()
}

/// The newest `n` of `service`, newest first; those before `before`, where one is named.
pub(super) fn last_of(
    db: &Connection,
    service: &ServiceName,
    before: Option<RolloutId>,
    n: usize,
) -> rusqlite::Result<Vec<RolloutRow>> {
    let before = before.map_or(i64::MAX, |id| signed(id.0));
    db.prepare_cached(
        "SELECT id, service, document, ended FROM rollouts
         WHERE service = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
    )?
    .query_map(params![service.as_str(), before, i64::try_from(n).unwrap_or(i64::MAX)], read)?
    .collect()
}

/// Those that are parts of `deploy`, oldest first.
pub(super) fn of_deploy(db: &Connection, deploy: RolloutId) -> rusqlite::Result<Vec<RolloutRow>> {
    let query = "SELECT id, service, document, ended FROM rollouts WHERE deploy = ?1 ORDER BY id";
    db.prepare_cached(query)?.query_map([signed(deploy.0)], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<RolloutRow> {
    Ok(RolloutRow {
        id: RolloutId(number(0, row.get(0)?)?),
        service: parsed(row, 1)?,
        document: row.get(2)?,
        ended: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_ones_go_once_they_have_ended() {
        let db = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE rollouts
             (id INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT, document TEXT, ended INTEGER);
             CREATE UNIQUE INDEX one_open_rollout ON rollouts (service) WHERE ended = 0;
             INSERT INTO rollouts VALUES (1, 'a', '', 1), (2, 'b', '', 0), (10099, 'a', '', 1)";
        db.execute_batch(table).unwrap();
        let begun = begin(&db, "c".parse().unwrap(), Box::new(|id| id.to_string())).unwrap();
        assert_eq!(begun.unwrap().document, "10100");
        let kept: Vec<u64> = last(&db, 10).unwrap().iter().map(|row| row.id.0).collect();
        assert_eq!(kept, [10_100, 10_099, 2]);
    }
}
