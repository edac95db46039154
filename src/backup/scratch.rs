//! Databases beside the application's own: what a dump is restored into, and what the old one is
//! called. Pure.

use jiff::Timestamp;

use super::DumpName;
use crate::postgres::{identifier, literal};

/// The longest name of a database, in bytes (`NAMEDATALEN`).
const LONGEST: usize = 63;

/// What a database beside another is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It takes the other's place.
    Restore,
    /// It is looked at, and dropped.
    Drill,
    /// It was the other one.
    Old,
}

impl Purpose {
    const fn word(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::Drill => "drill",
            Self::Old => "old",
        }
    }
}

/// The name of a database beside `database`.
#[must_use]
pub(super) fn beside(database: &str, purpose: Purpose, at: Timestamp) -> String {
    let suffix = format!("_{}_{}", purpose.word(), DumpName::stamp(at));
    format!("{}{suffix}", begin(database, suffix.len()))
}

/// Whether `other` was made beside `database` to be restored into. Only an end that was cut leaves it.
#[must_use]
pub(super) fn is_left_over(database: &str, other: &str) -> bool {
    [Purpose::Restore, Purpose::Drill].into_iter().any(|purpose| {
        let begin = begin(database, purpose.word().len() + 16);
        let stamp = other.strip_prefix(begin).and_then(|rest| {
            rest.strip_prefix('_')?.strip_prefix(purpose.word())?.strip_prefix('_')
        });
        stamp.is_some_and(|stamp| stamp.len() == 14 && stamp.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// As much of a name as leaves room for `suffix` bytes.
fn begin(database: &str, suffix: usize) -> &str {
    let mut end = database.len().min(LONGEST.saturating_sub(suffix));
    while !database.is_char_boundary(end) {
        end -= 1;
    }
    database.get(..end).unwrap_or_default()
}

/// What makes `new` take the place of `database`, which is called `old` from then on: all in one
/// transaction, so that either both have their new names or none has. Whoever is connected is cut off
/// first; PostgreSQL waits some seconds for them to be gone.
#[must_use]
pub(super) fn swap(database: &str, new: &str, old: &str) -> [String; 3] {
    let (name, text) = (identifier(database), literal(database));
    [
        format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = {text} \
             AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ),
        format!("ALTER DATABASE {name} RENAME TO {}", identifier(old)),
        format!("ALTER DATABASE {} RENAME TO {name}", identifier(new)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-03-01T03:04:05Z".parse().unwrap()
    }

    #[test]
    fn names_tell_what_they_are_for_and_fit() {
        assert_eq!(beside("ledger", Purpose::Restore, at()), "ledger_restore_20260301030405");
        assert_eq!(beside("ledger", Purpose::Old, at()), "ledger_old_20260301030405");
        let long = "é".repeat(31);
        for purpose in [Purpose::Restore, Purpose::Drill, Purpose::Old] {
            let name = beside(&long, purpose, at());
            assert!(name.len() <= 63 && name.len() >= 62, "{name}");
            assert_eq!(is_left_over(&long, &name), purpose != Purpose::Old);
        }
    }

    #[test]
    fn only_what_was_made_for_it_is_left_over() {
        for (other, expected) in [
            ("ledger_restore_20260301030405", true),
            ("ledger_drill_20260301030405", true),
            ("ledger_old_20260301030405", false),
            ("ledger", false),
            ("ledger_restore_2026030103040", false),
            ("ledger_restore_202603010304055", false),
            ("ledger_restore_2026030103040x", false),
            ("ledger2_restore_20260301030405", false),
            ("my_ledger_restore_20260301030405", false),
            ("ledger_restore_", false),
        ] {
            assert_eq!(is_left_over("ledger", other), expected, "{other}");
        }
    }

    #[test]
    fn the_old_one_goes_before_the_new_one_comes() {
        let [cut, away, in_place] = swap("it's", "new", "old");
        assert!(cut.contains("datname = 'it''s'"), "{cut}");
        assert_eq!(away, "ALTER DATABASE \"it's\" RENAME TO \"old\"");
        assert_eq!(in_place, "ALTER DATABASE \"new\" RENAME TO \"it's\"");
    }
}
