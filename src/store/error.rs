//! Why the store could not be opened, read or written.

use std::{fmt, io, path::PathBuf, time::Duration};

use rusqlite::ErrorCode;

use crate::ident::RolloutId;

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state directory or a file in it cannot be made, opened or renamed.
    #[error(
        "cannot use {} for the state: {source}; make it writable for the daemon's user, or set \
         another `state_dir`", path.display()
    )]
    Path {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A second daemon works on the same state.
    #[error(
        "{} is held by another aibkd ({holder}); stop that one first, or give this one its own \
         `state_dir`", path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// The state was written by a newer aibkd; it was left as it is (`S4`).
    #[error(
        "{} is of version {found}, this aibkd knows versions up to {known}; nothing was changed: \
         start the newer aibkd again, or put back a copy from before the upgrade", path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version understood.
        known: i64,
    },
    /// The state cannot be read; it was kept (`S4`).
    #[error(
        "{} cannot be read as aibk's state: {detail}; it was kept as it is: put back a copy, or \
         move it away together with its -wal file to begin with an empty state", path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// No space is left.
    #[error("cannot {doing}: no space is left for {}; free some, then try again", path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// What was to be done.
        doing: &'static str,
    },
    /// The database may not be written.
    #[error(
        "cannot {doing}: {} is read-only; look at its mode, its owner and how its file system is \
         mounted", path.display()
    )]
    ReadOnly {
        /// The database.
        path: PathBuf,
        /// What was to be done.
        doing: &'static str,
    },
    /// Anything else that `SQLite` answers.
    #[error("cannot {doing} in {}: {source}; see the system's log for disk errors", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What was to be done.
        doing: &'static str,
        /// What it said.
        source: rusqlite::Error,
    },
    /// The store's thread could not be started.
    #[error("cannot start the store's thread: {0}; raise the limit on tasks or memory")]
    Thread(io::Error),
    /// The store's thread has ended.
    #[error("cannot {doing}: the store has been closed; restart aibkd")]
    Closed {
        /// What was to be done.
        doing: &'static str,
    },
    /// The disk does not answer. Whether the work was or will be done is not known.
    #[error(
        "cannot tell whether aibkd could {doing}: the disk gave no answer in {after:?}; look at it"
    )]
    Stalled {
        /// What was to be done.
        doing: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// A defect of aibk's own; the transaction was undone.
    #[error("cannot {doing}: a defect in aibkd (its log has the panic); nothing was written")]
    Panicked {
        /// What was to be done.
        doing: &'static str,
    },
    /// A rollout that was never begun cannot be written.
    #[error("there is no rollout {0} to write to")]
    NoRollout(RolloutId),
    /// `S2`.
    #[error("rollout {0} of the service is under way; wait for it or cancel it")]
    Busy(RolloutId),
}

impl StoreError {
    /// Sorts what `SQLite` said while `doing` something in the database at `path`.
    pub(super) fn sqlite(
        path: impl Into<PathBuf>,
        doing: &'static str,
        source: rusqlite::Error,
    ) -> Self {
        let path = path.into();
        match (source.sqlite_error_code(), &source) {
            (Some(ErrorCode::DiskFull), _) => Self::Full { path, doing },
            (Some(ErrorCode::ReadOnly), _) => Self::ReadOnly { path, doing },
            (Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase), _)
            | (
                _,
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..),
            ) => Self::Damaged { path, detail: source.to_string() },
            _ => Self::Sqlite { path, doing, source },
        }
    }
}

/// The process that holds the lock, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The pid it wrote into the lock file.
    Pid(u32),
    /// It has not written its pid yet.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "pid {pid}"),
            Self::Unknown => f.write_str("which has not said its pid yet"),
        }
    }
}
