//! What each slot is meant to hold.

use rusqlite::{Connection, Row, params};

use super::columns::{number, parsed, signed};
use crate::ident::{Generation, InstanceId, ReleaseId, RolloutId};

/// What a slot is meant to hold, and what was last seen in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRow {
    /// Which slot.
    pub instance: InstanceId,
    /// Whether an instance is meant to run here.
    pub wanted: bool,
    /// Release it is of.
    pub release: ReleaseId,
    /// Directory of the release.
    pub directory: String,
    /// The rollout that started it last.
    pub rollout: Option<RolloutId>,
    /// Its last start.
    pub generation: Generation,
    /// `process::Identity` as JSON, of the last start.
    pub identity: Option<String>,
    /// Why the next daemon of this boot leaves it as it is, though it is meant to run; as JSON of the
    /// instance room.
    pub rest: Option<String>,
}

pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<SlotRow>> {
    db.prepare(
        "SELECT instance, wanted, release, directory, rollout, generation, identity, rest
         FROM slots ORDER BY instance",
    )?
    .query_map([], read)?
    .collect()
}

pub(super) fn put(db: &Connection, row: &SlotRow) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO slots
             (instance, wanted, release, directory, rollout, generation, identity, rest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (instance) DO UPDATE SET wanted = excluded.wanted,
             release = excluded.release, directory = excluded.directory,
             rollout = excluded.rollout, generation = excluded.generation,
             identity = excluded.identity, rest = excluded.rest",
    )?
    .execute(params![
        row.instance.to_string(),
        row.wanted,
        row.release.0,
        row.directory,
        row.rollout.map(|id| signed(id.0)),
        signed(row.generation.0),
        row.identity,
        row.rest,
    ])
    .map(drop)
}

pub(super) fn forget(db: &Connection, instance: &InstanceId) -> rusqlite::Result<()> {
    let with_workers = "DELETE FROM slots WHERE instance = ?1 OR instance GLOB ?1 || '.*'";
    db.execute(with_workers, [instance.to_string()]).map(drop)
}

fn read(row: &Row<'_>) -> rusqlite::Result<SlotRow> {
    Ok(SlotRow {
        instance: parsed(row, 0)?,
        wanted: row.get(1)?,
        release: ReleaseId(row.get(2)?),
        directory: row.get(3)?,
        rollout: row.get::<_, Option<i64>>(4)?.map(|n| number(4, n)).transpose()?.map(RolloutId),
        generation: Generation(number(5, row.get(5)?)?),
        identity: row.get(6)?,
        rest: row.get(7)?,
    })
}
