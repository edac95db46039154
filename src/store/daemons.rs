//! The daemon before this one: whether this one goes on where it left, or begins afresh.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

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
pub(super) fn begin(db: &mut Connection, boot: &str, stopped: &str) -> rusqlite::Result<Beginning> {
    let write = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let last: Option<(String, bool)> = write
        .query_row("SELECT boot, ended FROM daemons", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let beginning = match last {
        Some((of, ended)) if ended || of != boot => Beginning::Afresh,
        // A version before this one wrote nothing, and what it left must be adopted.
        Some(_) | None => Beginning::Successor,
    };
    if beginning == Beginning::Afresh {
        boots::apply(&write, stopped)?;
    }
    put(&write, boot, false)?;
    write.commit()?;
    Ok(beginning)
}

/// The daemon of the boot `boot` has stopped everything.
pub(super) fn end(db: &mut Connection, boot: &str) -> rusqlite::Result<()> {
    let write = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    put(&write, boot, true)?;
    write.commit()
}

fn put(write: &Transaction<'_>, boot: &str, ended: bool) -> rusqlite::Result<()> {
    write.execute("DELETE FROM daemons", [])?;
    write
        .execute("INSERT INTO daemons (boot, ended) VALUES (?1, ?2)", params![boot, ended])
        .map(drop)
}
