//! What can go wrong with dumps.

use std::{io, path::PathBuf};

use super::{DumpName, name::NoDumpName};
use crate::{
    ident::AppName,
    postgres::{PostgresError, Table},
};

/// A dump that was not made, did not hold, or was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no database to save.
    #[error("application {0} has no `database`; describe it under `apps.{0}.database`")]
    NotConfigured(AppName),
    /// Something else goes on with the same dumps.
    #[error("another dump, check or restore of {0} goes on; wait for its end")]
    Busy(AppName),
    /// What was named is none.
    #[error(transparent)]
    Name(#[from] NoDumpName),
    /// There is no such dump.
    #[error("{app} has no dump {name}; `aibkctl backup list` shows them")]
    Unknown {
        /// Whose it would be.
        app: AppName,
        /// What was named.
        name: String,
    },
    /// What is known of it cannot be read.
    #[error("what is known of {name} cannot be read ({why}); it was left as it is")]
    Manifest {
        /// Which dump.
        name: DumpName,
        /// What is wrong.
        why: String,
    },
    /// A file or directory cannot be used.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is too little room.
    #[error(
        "a dump of {database} needs about {} and {} has {}; free some, or prune",
        size(*needed), directory.display(), size(*free)
    )]
    Space {
        /// Of which database.
        database: String,
        /// Where.
        directory: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// PostgreSQL's programs failed.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The disk was full.
    #[error("{} was full before the dump was done; free some, or prune", .0.display())]
    Full(PathBuf),
    /// The dump lists none of the tables.
    #[error(
        "the dump of {database} lists no table, and the database has {tables}; nothing is kept"
    )]
    Empty {
        /// Of which database.
        database: String,
        /// How many it has.
        tables: usize,
    },
    /// The dump does not have all tables.
    #[error("{what} lacks {}", names(missing))]
    Lacks {
        /// A dump or a database.
        what: String,
        /// What it lacks.
        missing: Vec<Table>,
    },
    /// The dump's file is not what was written.
    #[error("{name} is damaged: {why}; do not restore it, use another one")]
    Damaged {
        /// Which.
        name: DumpName,
        /// How that is seen.
        why: String,
    },
    /// The operator's own command did not copy it.
    #[error("{name} was made, and is here, but was not copied: {why}")]
    NotCopied {
        /// Which dump.
        name: DumpName,
        /// What the command said.
        why: String,
    },
    /// It was not done within `backup.deadline`.
    #[error("it was not done in time and was ended; see `backup.deadline`")]
    Late,
}

/// Bytes for people.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = "bytes";
    let mut tenths = u128::from(bytes) * 10;
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        (unit, tenths) = (larger, tenths / 1024);
    }
    match unit {
        "bytes" => format!("{bytes} bytes"),
        _ => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// The first few of them.
fn names(tables: &[Table]) -> String {
    const SHOWN: usize = 5;
    let shown = tables.iter().take(SHOWN).map(|table| format!("{}.{}", table.schema, table.name));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match tables.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more tables"),
    }
}

impl BackupError {
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
            io::ErrorKind::TimedOut => Self::Late,
            _ => Self::File { action, path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_shortly() {
        let told = [0, 1023, 1024, 1_500_000, 5 << 30, u64::MAX].map(size);
        assert_eq!(
            told,
            ["0 bytes", "1023 bytes", "1.0 KiB", "1.4 MiB", "5.0 GiB", "16777215.9 TiB"]
        );
    }
}
