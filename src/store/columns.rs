//! Between `SQLite`'s columns and our types.

use std::str::FromStr;

use rusqlite::{Error, Row, types::Type};

/// `SQLite` has signed integers only. No number of ours comes near the limit, since each was
/// counted up from one.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The number in `column`, which was written by [`signed`].
pub(super) fn number(column: usize, n: i64) -> rusqlite::Result<u64> {
    u64::try_from(n).map_err(|_| Error::IntegralValueOutOfRange(column, n))
}

/// The name in `column`.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get::<_, String>(column)?
        .parse()
        .map_err(|e| Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}
