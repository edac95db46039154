//! The daemon before this one: whether this one goes on where it left, or begins afresh.

use rusqlite::{Connection, OptionalExtension, params};

use super::boots;

/// How a daemon begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The host was booted since, or the last daemon stopped everything before it ended.
    Afresh,
    /// The last daemon went away and left everything as it was.
    Successor,
}

/// Begins a daemon in the boot `boot`. Where that is afresh, what [`boots::apply`] makes of the slots
/// becomes durable in the same transaction.
pub(super) fn begin(db: &Connection, boot: &str, stopped: &str) -> rusqlite::Result<Beginning> {
    let last: Option<(String, bool)> = db
        .query_row("SELECT boot, ended FROM daemons", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let beginning = match last {
        Some((of, ended)) if ended || of != boot => Beginning::Afresh,
        // A version before this one wrote nothing, and what it left must be adopted.
        Some(_) | None => Beginning::Successor,
    };
    if beginning == Beginning::Afresh {
        boots::apply(db, stopped)?;
    }
    put(db, boot, false)?;
    Ok(beginning)
}

/// The daemon of the boot `boot` has stopped everything.
pub(super) fn end(db: &Connection, boot: &str) -> rusqlite::Result<()> {
    put(db, boot, true)
}

fn put(db: &Connection, boot: &str, ended: bool) -> rusqlite::Result<()> {
    db.execute("DELETE FROM daemons", [])?;
    db.execute("INSERT INTO daemons (boot, ended) VALUES (?1, ?2)", params![boot, ended]).map(drop)
}
