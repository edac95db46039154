//! What happened: kept, pruned, and told to whoever listens.

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::{
    columns::{number, signed},
    error::StoreError,
};

/// How many are kept.
pub(super) const KEPT: u64 = 10_000;
/// How many more there may be before the oldest are removed.
const PRUNED_EVERY: u64 = 500;

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    /// Grows by one with each event; 0 until stored.
    pub id: u64,
    /// Microseconds since the epoch; 0 until recorded.
    pub at: i64,
    /// Dotted name: `instance.ready`, `rollout.step`, `nginx.published`.
    pub kind: String,
    /// Service, instance, generation and rollout it is about, as far as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Generation of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u64>,
    /// A sentence for people.
    pub message: String,
}

/// Says in the log what the store could not keep.
pub(super) fn lost(event: &Event, reason: &StoreError) {
    tracing::error!(kind = %event.kind, message = %event.message, "event not kept: {reason}");
}

/// Keeps `event`; its id.
pub(super) fn append(db: &Connection, event: &Event) -> rusqlite::Result<u64> {
    db.prepare_cached(
        "INSERT INTO events (at, kind, service, instance, generation, rollout, message)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        event.at,
        event.kind,
        event.service,
        event.instance,
        event.generation.map(signed),
        event.rollout.map(signed),
        event.message,
    ])?;
    let id = number(0, db.last_insert_rowid())?;
    if id.is_multiple_of(PRUNED_EVERY) {
        let newest_gone = id.saturating_sub(KEPT);
        db.execute("DELETE FROM events WHERE id <= ?1", [signed(newest_gone)])?;
    }
    Ok(id)
}

pub(super) fn after(db: &Connection, after: u64, n: usize) -> rusqlite::Result<Vec<Event>> {
    db.prepare(
        "SELECT * FROM (
             SELECT id, at, kind, service, instance, generation, rollout, message
             FROM events WHERE id > ?1 ORDER BY id DESC LIMIT ?2
         ) ORDER BY id",
    )?
    .query_map([signed(after), i64::try_from(n).unwrap_or(i64::MAX)], read)?
    .collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Event> {
    let optional = |column| -> rusqlite::Result<Option<u64>> {
        row.get::<_, Option<i64>>(column)?.map(|n| number(column, n)).transpose()
    };
    Ok(Event {
        id: number(0, row.get(0)?)?,
        at: row.get(1)?,
        kind: row.get(2)?,
        service: row.get(3)?,
        instance: row.get(4)?,
        generation: optional(5)?,
        rollout: optional(6)?,
        message: row.get(7)?,
    })
}
