//! What is known of a dump: a document beside it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::DumpName;
use crate::{ident::ReleaseId, postgres::Table};

/// The form of the document that this program writes and reads.
pub(super) const FORM: u32 = 1;

/// Why a dump was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reason {
    /// Somebody asked.
    Manual,
    /// Its time had come.
    Schedule,
    /// The schema was about to be changed.
    BeforeMigration {
        /// The revisions that it was to come to.
        to: Vec<String>,
    },
}

/// What became of the copy of a dump at another place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Copied {
    /// There is to be none.
    #[default]
    None,
    /// It is there, and was looked at.
    Checked {
        /// When.
        at: Timestamp,
    },
    /// It is not.
    Failed {
        /// Why.
        why: String,
    },
}

/// A dump, as it was when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORM`].
    pub form: u32,
    /// Its name.
    pub name: DumpName,
    /// When it was there.
    pub done: Timestamp,
    /// The database that it is of.
    pub database: String,
    /// The server's version.
    pub server: String,
    /// Bytes of the dump.
    pub size: u64,
    /// What the database took on the server's disk, in bytes.
    pub database_size: u64,
    /// Of the dump, in hexadecimal digits.
    pub sha256: String,
    /// Why it was made.
    pub reason: Reason,
    /// Which release of the application was live.
    pub release: Option<ReleaseId>,
    /// The revisions of Alembic that the database was at.
    pub revisions: Vec<String>,
    /// The tables in it.
    pub tables: Vec<Table>,
    /// Retention leaves it alone.
    pub pinned: bool,
    /// Its copy at another place.
    pub copied: Copied,
    /// What looked odd.
    pub warnings: Vec<String>,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        if manifest.form == FORM {
            Ok(manifest)
        } else {
            Err(format!("it is of form {}, and this aibkd knows {FORM}", manifest.form))
        }
    }

    /// The document.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        // Every part of it is text and numbers.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Of a dump that was made before one: from which revisions to which.
    #[must_use]
    pub fn migration(&self) -> Option<(&[String], &[String])> {
        match &self.reason {
            Reason::BeforeMigration { to } => Some((&self.revisions, to)),
            _ => None,
        }
    }
}

/// Less than this part of the last one is odd.
const SMALL: u64 = 2;

/// What is odd about the size of a dump, compared with the one before it.
#[must_use]
pub(super) fn oddly_small(size: u64, last: Option<&Manifest>) -> Option<String> {
    let last = last.filter(|last| size < last.size / SMALL)?;
    Some(format!(
        "it is much smaller than the last one ({size} bytes, {} had {}): see whether data is gone",
        last.name, last.size
    ))
}

#[cfg(test)]
impl Manifest {
    /// One that was begun at `at`.
    pub(crate) fn sample(at: &str, reason: Reason) -> Self {
        let at: Timestamp = at.parse().unwrap();
        Self {
            form: FORM,
            name: DumpName::new("ledger".parse().unwrap(), at),
            done: at,
            database: "ledger".to_owned(),
            server: "15.8".to_owned(),
            size: 1000,
            database_size: 8_000_000,
            sha256: "ab".repeat(32),
            reason,
            release: Some(ReleaseId("r1".to_owned())),
            revisions: vec!["a1".to_owned()],
            tables: vec![crate::postgres::Table {
                schema: "public".to_owned(),
                name: "users".to_owned(),
                rows: 3,
                divided: false,
            }],
            pinned: false,
            copied: Copied::None,
            warnings: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back_as_written() {
        for reason in [
            Reason::Manual,
            Reason::Schedule,
            Reason::BeforeMigration { to: vec!["b2".to_owned()] },
        ] {
            let manifest = Manifest::sample("2026-03-01T03:00:00Z", reason);
            assert_eq!(Manifest::read(&manifest.text()).unwrap(), manifest);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let mut newer = Manifest::sample("2026-03-01T03:00:00Z", Reason::Manual);
        newer.form = 2;
        assert_eq!(
            Manifest::read(&newer.text()).unwrap_err(),
            "it is of form 2, and this aibkd knows 1"
        );
        for text in ["", "{}", "[]", "null", "{\"form\": 1}"] {
            assert!(Manifest::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn less_than_half_is_odd() {
        let last = Manifest::sample("2026-03-01T03:00:00Z", Reason::Manual);
        assert_eq!(oddly_small(1, None), None, "there is nothing to compare it with");
        assert_eq!(oddly_small(500, Some(&last)), None);
        assert!(oddly_small(499, Some(&last)).unwrap().contains("499 bytes, ledger-2026"));
    }
}
