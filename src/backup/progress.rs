//! What is being done with a dump.

use std::fmt;

use super::error::size;

/// Where a dump, a check or a restore is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The database is asked what it is.
    Asking,
    /// The dump is written.
    Dumping {
        /// Bytes so far.
        written: u64,
        /// Bytes of the last one.
        last: Option<u64>,
    },
    /// The contents of the dump are compared.
    Listing,
    /// It is read whole.
    Hashing,
    /// The operator's own command runs.
    Copying,
    /// The other command sees whether the copy is whole.
    CheckingCopy,
    /// It is restored into a database of its own.
    Restoring,
    /// The rows of a table are counted.
    Counting {
        /// Which.
        table: String,
    },
    /// The databases change their names.
    Swapping,
}

/// Hears of progress.
pub type Tell<'a> = &'a (dyn Fn(Progress) + Send + Sync);

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asking => f.write_str("asking the database"),
            Self::Dumping { written, last: None } => write!(f, "dumping: {}", size(*written)),
            Self::Dumping { written, last: Some(last) } => {
                write!(f, "dumping: {} (the last one had {})", size(*written), size(*last))
            }
            Self::Listing => f.write_str("comparing its contents"),
            Self::Hashing => f.write_str("hashing it"),
            Self::Copying => f.write_str("copying it"),
            Self::CheckingCopy => f.write_str("checking the copy"),
            Self::Restoring => f.write_str("restoring it into a database of its own"),
            Self::Counting { table } => write!(f, "counting the rows of {table}"),
            Self::Swapping => f.write_str("swapping the databases"),
        }
    }
}
