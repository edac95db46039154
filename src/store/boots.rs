//! Which services come up when a daemon begins afresh.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::columns::parsed;
use crate::ident::ServiceName;

/// What becomes of a service when a daemon begins afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boots {
    /// What was meant to run comes up.
    AsLeft,
    /// What was meant to run comes up; where nothing was, the service does as if it had never been
    /// started. Holds for one beginning.
    AsConfigured,
    /// Nothing comes up.
    Not,
}

/// The services of which nothing comes up.
pub(super) fn disabled(db: &Connection) -> rusqlite::Result<BTreeSet<ServiceName>> {
    db.prepare("SELECT service FROM boots WHERE how = 'not'")?
        .query_map([], |row| parsed(row, 0))?
        .collect()
}

pub(super) fn put(db: &Connection, of: &ServiceName, boots: Boots) -> rusqlite::Result<()> {
    let how = match boots {
        Boots::AsLeft => {
            return db.execute("DELETE FROM boots WHERE service = ?1", [of.as_str()]).map(drop);
        }
        Boots::AsConfigured => "as-configured",
        Boots::Not => "not",
    };
    db.execute(
        "INSERT INTO boots (service, how) VALUES (?1, ?2)
         ON CONFLICT (service) DO UPDATE SET how = excluded.how",
        params![of.as_str(), how],
    )
    .map(drop)
}

/// A daemon begins afresh: no slot has a process or rests, but those of services that do not come
/// up rest as `stopped`.
pub(super) fn apply(db: &Connection, stopped: &str) -> rusqlite::Result<()> {
    // `api@8000` and `worker` are of `api` and `worker`.
    const OF: &str = "substr(instance, 1, instr(instance || '@', '@') - 1)";
    db.execute("UPDATE slots SET identity = NULL, rest = NULL", [])?;
    db.execute(
        &format!(
            "UPDATE slots SET rest = ?1
             WHERE wanted AND {OF} IN (SELECT service FROM boots WHERE how = 'not')"
        ),
        [stopped],
    )?;
    db.execute(
        &format!(
            "DELETE FROM slots
             WHERE {OF} IN (SELECT service FROM boots WHERE how = 'as-configured')
             AND {OF} NOT IN (SELECT {OF} FROM slots WHERE wanted)"
        ),
        [],
    )?;
    db.execute("DELETE FROM boots WHERE how = 'as-configured'", []).map(drop)
}
