//! Writes that share a transaction: one wait for the disk makes all of them durable.
//!
//! Each is a part of its own (a savepoint), so that one that fails leaves nothing behind and hurts no
//! other. Nobody hears of anything before the transaction has ended.

use std::{
    iter,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use rusqlite::{Connection, Error, ffi};
use tokio::sync::broadcast;

use super::{
    error::StoreError,
    events::{self, Event},
};

/// How many writes share a transaction at most.
const MOST: usize = 256;

/// Something that is to become durable.
pub(super) enum Change {
    Write(Write),
    Record(Box<Event>),
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(Error),
    Panicked,
}

impl Failure {
    /// What failed was `doing` this in the database at `path`.
    pub(super) fn of(self, path: &Path, doing: &'static str) -> StoreError {
        match self {
            Self::Sqlite(e) => StoreError::sqlite(path, doing, e),
            Self::Panicked => StoreError::Panicked { doing },
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Sqlite(e)
    }
}

/// Work, and whoever waits for what comes of it.
pub(super) struct Write(Box<Work>);

type Work = dyn FnOnce(rusqlite::Result<&mut Connection>) -> Ending + Send;

/// Tells whoever waits, by the end of the transaction.
type Ending = Box<dyn FnOnce(&rusqlite::Result<()>)>;

impl Write {
    /// `then` is given what `work` returned, once what it wrote is durable.
    pub(super) fn new<T: 'static>(
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) -> Self {
        Self(Box::new(move |db| {
            let done = db.map_err(Failure::from).and_then(|db| apart(db, work));
            Box::new(move |ended| then(done.and_then(|value| as_it_ended(ended).map(|()| value))))
        }))
    }
}

/// Does `first` and what `more` gives in one transaction, and tells everybody how that ended.
pub(super) fn together(
    db: &mut Connection,
    (path, told): (&Path, &broadcast::Sender<Event>),
    first: Change,
    more: impl FnMut() -> Option<Change>,
) {
    let mut endings = Vec::new();
    let mut ended = db.execute_batch("BEGIN IMMEDIATE");
    if ended.is_ok() {
        for change in iter::once(first).chain(iter::from_fn(more)).take(MOST) {
            endings.push(perform(change, Ok(db), path, told));
            // Some errors, such as a full disk, undo the whole transaction.
            if db.is_autocommit() {
                break;
            }
        }
        ended = end(db);
    } else {
        endings.push(perform(first, ended.as_ref().map(|()| db).map_err(again), path, told));
    }
    for tell in endings {
        tell(&ended);
    }
}

fn end(db: &Connection) -> rusqlite::Result<()> {
    if db.is_autocommit() {
        return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT_ROLLBACK), None));
    }
    db.execute_batch("COMMIT").inspect_err(|_| drop(db.execute_batch("ROLLBACK")))
}

fn perform(
    change: Change,
    db: rusqlite::Result<&mut Connection>,
    path: &Path,
    told: &broadcast::Sender<Event>,
) -> Ending {
    let event = match change {
        Change::Write(Write(work)) => return work(db),
        Change::Record(event) => event,
    };
    let kept = db.map_err(Failure::from).and_then(|db| apart(db, |db| events::append(db, &event)));
    let (path, told) = (path.to_owned(), told.clone());
    Box::new(move |ended| {
        let kept = kept.and_then(|id| as_it_ended(ended).map(|()| id));
        let id = kept.unwrap_or_else(|why| {
            events::lost(&event, &why.of(&path, "keep events"));
            0
        });
        // An error only means that nobody listens.
        drop(told.send(Event { id, ..*event }));
    })
}

/// Does `work` so that it leaves nothing behind when it fails.
fn apart<T>(
    db: &mut Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, Failure> {
    let db: &Connection = db;
    // Not rusqlite's own savepoint, whose words SQLite reads anew each time.
    let say = |words| db.prepare_cached(words)?.execute([]).map(drop);
    say("SAVEPOINT part")?;
    let done = caught(|| work(db)).and_then(|value| Ok(say("RELEASE part").map(|()| value)?));
    if done.is_err() {
        // There is none any more where the error has undone the whole transaction.
        let _ = say("ROLLBACK TO part").and_then(|()| say("RELEASE part"));
    }
    done
}

/// A panic in `work` is a failure of it alone.
pub(super) fn caught<T>(work: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(Failure::from),
        Err(_) => Err(Failure::Panicked),
    }
}

fn as_it_ended(ended: &rusqlite::Result<()>) -> Result<(), Failure> {
    match ended {
        Ok(()) => Ok(()),
        Err(e) => Err(again(e).into()),
    }
}

/// The same error once more, for another one who is hurt by it.
fn again(error: &Error) -> Error {
    match error {
        Error::SqliteFailure(code, text) => Error::SqliteFailure(*code, text.clone()),
        other => {
            let code = ffi::Error::new(ffi::SQLITE_ABORT);
            Error::SqliteFailure(code, Some(other.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    type Work = Box<dyn FnOnce(&Connection) -> rusqlite::Result<usize> + Send>;

    fn insert(value: i64) -> Work {
        Box::new(move |db| db.execute("INSERT INTO t VALUES (?1)", [value]))
    }

    /// What everybody was told of `all`, which were written together.
    fn written(db: &mut Connection, all: Vec<Work>) -> Vec<Result<usize, Failure>> {
        let (tell, heard) = channel();
        let changes = all.into_iter().map(|work| {
            let tell = tell.clone();
            Change::Write(Write::new(work, move |done| tell.send(done).unwrap()))
        });
        let mut changes = changes.collect::<Vec<_>>().into_iter();
        let (told, _) = broadcast::channel(1);
        while let Some(first) = changes.next() {
            together(db, (Path::new("x"), &told), first, || changes.next());
        }
        drop((tell, changes));
        all_of(&heard)
    }

    fn all_of<T>(heard: &Receiver<T>) -> Vec<T> {
        heard.try_iter().collect()
    }

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t (x INTEGER UNIQUE) STRICT").unwrap();
        db
    }

    fn kept(db: &Connection) -> Vec<i64> {
        let mut select = db.prepare("SELECT x FROM t ORDER BY x").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn one_that_fails_leaves_nothing_and_hurts_no_other() {
        let mut db = database();
        let half = |db: &Connection| {
            db.execute("INSERT INTO t VALUES (7)", [])?;
            db.execute("INSERT INTO t VALUES (1)", [])
        };
        let panics = |db: &Connection| {
            db.execute("INSERT INTO t VALUES (8)", [])?;
            panic!("in a test");
        };
        let all: Vec<Work> = vec![insert(1), Box::new(half), Box::new(panics), insert(2)];
        let told = written(&mut db, all);
        assert!(matches!(
            told.as_slice(),
            [Ok(1), Err(Failure::Sqlite(_)), Err(Failure::Panicked), Ok(1)]
        ));
        assert_eq!(kept(&db), [1, 2]);
    }

    #[test]
    fn nobody_is_told_yes_of_what_was_undone() {
        let mut db = database();
        // As SQLite itself does, on a full disk for example.
        let undo = |db: &Connection| db.execute_batch("ROLLBACK").map(|()| 0);
        let told = written(&mut db, vec![insert(1), Box::new(undo), insert(2)]);
        assert!(matches!(told.as_slice(), [Err(_), Err(_), Ok(1)]), "{told:?}");
        assert_eq!(kept(&db), [2]);

        db.pragma_update(None, "query_only", 1).unwrap();
        let told = written(&mut db, vec![insert(3), insert(4)]);
        assert!(matches!(told.as_slice(), [Err(_), Err(_)]), "{told:?}");
        db.pragma_update(None, "query_only", 0).unwrap();
        assert_eq!(kept(&db), [2]);
    }
}
