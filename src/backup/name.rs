//! Names of dumps: `ledger-20260301T030000Z`. What a request names is read by this, never used as a
//! path (`C2`).

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::ident::AppName;

const FORM: &str = "%Y%m%dT%H%M%SZ";

/// The name of a dump: whose, and of which second.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DumpName {
    /// The application.
    pub app: AppName,
    /// When it was begun, to the second.
    pub at: Timestamp,
}

/// What is no name of a dump.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a dump; `aibkctl backup list` shows them")]
pub struct NoDumpName(String);

impl DumpName {
    /// The name of a dump of `app` that is begun at `at`.
    #[must_use]
    pub fn new(app: AppName, at: Timestamp) -> Self {
        let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
        Self { app, at: whole }
    }

    /// The name of its file.
    #[must_use]
    pub fn dump(&self) -> String {
        format!("{self}.dump")
    }

    /// The name of the file beside it that tells of it.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{self}.json")
    }

    /// The time in it, as it may stand in the name of a database.
    #[must_use]
    pub fn stamp(at: Timestamp) -> String {
        at.strftime("%Y%m%d%H%M%S").to_string()
    }
}

impl fmt::Display for DumpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.app, self.at.strftime(FORM))
    }
}

impl FromStr for DumpName {
    type Err = NoDumpName;
    fn from_str(text: &str) -> Result<Self, NoDumpName> {
        let read = || {
            let (app, at) = text.rsplit_once('-')?;
            let at = DateTime::strptime(FORM, at).ok()?;
            let at = TimeZone::UTC.to_timestamp(at).ok()?;
            let name = Self { app: app.parse().ok()?, at };
            (name.to_string() == text).then_some(name)
        };
        read().ok_or_else(|| NoDumpName(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for DumpName {
    type Error = NoDumpName;
    fn try_from(text: String) -> Result<Self, NoDumpName> {
        text.parse()
    }
}

impl From<DumpName> for String {
    fn from(name: DumpName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_written_and_nothing_else_is_one() {
        let name =
            DumpName::new("my-ledger".parse().unwrap(), "2026-03-01T03:00:00.7Z".parse().unwrap());
        assert_eq!(name.to_string(), "my-ledger-20260301T030000Z");
        assert_eq!(name.to_string().parse::<DumpName>().unwrap(), name);
        assert_eq!(name.dump(), "my-ledger-20260301T030000Z.dump");
        for bad in [
            "",
            "ledger",
            "ledger-",
            "-20260301T030000Z",
            "../ledger-20260301T030000Z",
            "ledger-20260301T030000Z.dump",
            "ledger-20261301T030000Z",
            "ledger-2026031T030000Z",
            "Ledger-20260301T030000Z",
            "ledger-20260301T030000Z/x",
        ] {
            assert!(bad.parse::<DumpName>().is_err(), "{bad}");
        }
    }
}
