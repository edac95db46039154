//! Deploys: at most one per application that has not ended, held to by a unique index. Their ids are
//! taken from the same row as those of rollouts, so that a number names one operation.

use rusqlite::{Connection, Error, OptionalExtension, Row, ffi, params};

use super::columns::{number, parsed, signed};
use crate::ident::{AppName, RolloutId};

/// Deploys of each application that are kept, beside one that has not ended.
const KEPT: i64 = 1000;

/// A deploy as it is kept. `document` is the deploy room's own, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployRow {
    /// Its id.
    pub id: RolloutId,
    /// Of which application.
    pub app: AppName,
    /// The deploy room's document.
    pub document: String,
    /// It has ended.
    pub ended: bool,
}

/// This one of the same application has not ended.
pub(super) struct Held(pub(super) RolloutId);

pub(super) fn begin(
    db: &Connection,
    app: AppName,
    document: Box<dyn FnOnce(RolloutId) -> String + Send>,
) -> rusqlite::Result<Result<DeployRow, Held>> {
    let id = next_id(db)?;
    let document = document(id);
    let row = DeployRow { id, app, document, ended: false };
    let insert = "INSERT INTO deploys (id, app, document, ended) VALUES (?1, ?2, ?3, 0)";
    match db.execute(insert, params![signed(id.0), row.app.as_str(), row.document]) {
        Ok(_) => {}
        Err(Error::SqliteFailure(e, _)) if e.extended_code == ffi::SQLITE_CONSTRAINT_UNIQUE => {
            let holder = db.query_row(
                "SELECT id FROM deploys WHERE app = ?1 AND ended = 0",
                [row.app.as_str()],
                |row| row.get(0),
            )?;
            return Ok(Err(Held(RolloutId(number(0, holder)?))));
        }
        Err(other) => return Err(other),
    }
    db.execute(
        "DELETE FROM deploys WHERE app = ?1 AND ended = 1 AND id NOT IN
             (SELECT id FROM deploys WHERE app = ?1 ORDER BY id DESC LIMIT ?2)",
        params![row.app.as_str(), KEPT],
    )?;
    Ok(Ok(row))
}

/// The next number of the rollouts' own row, which is used up by this: `AUTOINCREMENT` counts in a
/// table that may be written (<https://sqlite.org/autoinc.html>).
fn next_id(db: &Connection) -> rusqlite::Result<RolloutId> {
    let used = "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'rollouts' RETURNING seq";
    let next: Option<i64> = db.query_row(used, [], |row| row.get(0)).optional()?;
    let Some(next) = next else {
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('rollouts', 1)", [])?;
        return Ok(RolloutId(1));
    };
    Ok(RolloutId(number(0, next)?))
}

/// The number of rows that were written.
pub(super) fn put(db: &Connection, row: &DeployRow) -> rusqlite::Result<usize> {
    db.execute(
        "UPDATE deploys SET document = ?2, ended = ?3 WHERE id = ?1",
        params![signed(row.id.0), row.document, row.ended],
    )
}

pub(super) fn one(db: &Connection, id: RolloutId) -> rusqlite::Result<Option<DeployRow>> {
    let query = "SELECT id, app, document, ended FROM deploys WHERE id = ?1";
    db.query_row(query, [signed(id.0)], read).optional()
}

/// The last `n`, newest first, and every one that has not ended.
pub(super) fn last(db: &Connection, n: usize) -> rusqlite::Result<Vec<DeployRow>> {
    let query = "SELECT id, app, document, ended FROM deploys
         WHERE ended = 0 OR id IN (SELECT id FROM deploys ORDER BY id DESC LIMIT ?1)
         ORDER BY id DESC";
    db.prepare(query)?.query_map([i64::try_from(n).unwrap_or(i64::MAX)], read)?.collect()
}

/// The last `n` of `app`, newest first.
pub(super) fn last_of(
    db: &Connection,
    app: &AppName,
    n: usize,
) -> rusqlite::Result<Vec<DeployRow>> {
    let query = "SELECT id, app, document, ended FROM deploys WHERE app = ?1
         ORDER BY id DESC LIMIT ?2";
    let n = i64::try_from(n).unwrap_or(i64::MAX);
    db.prepare(query)?.query_map(params![app.as_str(), n], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<DeployRow> {
    Ok(DeployRow {
        id: RolloutId(number(0, row.get(0)?)?),
        app: parsed(row, 1)?,
        document: row.get(2)?,
        ended: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ident::ServiceName,
        store::{Store, StoreError},
    };

    #[tokio::test]
    async fn a_number_names_one_operation_and_an_application_has_one_deploy() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let shop = AppName::new("shop").unwrap();
        let written = || Box::new(|id: RolloutId| format!("of {id}"));
        let first = store.begin_deploy(shop.clone(), written()).await.unwrap();
        assert_eq!((first.id, first.document.as_str()), (RolloutId(1), "of 1"));
        let service = ServiceName::new("api").unwrap();
        let rollout = store.begin_rollout(service, Box::new(|_| String::new())).await.unwrap();
        assert_eq!(rollout.id, RolloutId(2));
        let second = store.begin_deploy(shop.clone(), written()).await;
        assert!(matches!(second, Err(StoreError::Busy(RolloutId(1)))), "{second:?}");
        let ended = DeployRow { document: "over".to_owned(), ended: true, ..first };
        store.put_deploy(ended.clone()).await.unwrap();
        let next = store.begin_deploy(shop.clone(), written()).await.unwrap();
        assert_eq!(store.deploy(ended.id).await.unwrap(), Some(ended.clone()));
        assert_eq!(store.deploys(0).await.unwrap(), std::slice::from_ref(&next));
        assert_eq!(store.deploys(9).await.unwrap(), [next.clone(), ended]);
        assert_eq!(store.deploys_of(&shop, 1).await.unwrap(), [next]);
        assert_eq!(store.deploys_of(&AppName::new("blog").unwrap(), 1).await.unwrap(), []);
    }
}
