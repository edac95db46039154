//! Dumps of applications' databases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A dump: `GET /v1/apps/{app}/backups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    /// Its name.
    pub name: String,
    /// When it was begun: RFC 3339.
    pub begun: String,
    /// Its file.
    pub file: String,
    /// Bytes; none where the file is gone.
    pub size: Option<u64>,
    /// What is known of it; none where that cannot be read.
    pub known: Option<KnownBackup>,
    /// Why it cannot be used.
    pub broken: Option<String>,
}

/// What is known of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownBackup {
    /// Of which database.
    pub database: String,
    /// The server's version.
    pub server: String,
    /// Why it was made: `manual`, `schedule` or `before_migration`.
    pub reason: String,
    /// The release that was live.
    pub release: Option<String>,
    /// The revisions of the schema.
    pub revisions: Vec<String>,
    /// Its tables: how many.
    pub tables: usize,
    /// In hexadecimal digits.
    pub sha256: String,
    /// Retention leaves it alone.
    pub pinned: bool,
    /// When its copy at another place was checked: RFC 3339.
    pub copied: Option<String>,
    /// What looked odd, or did not work.
    pub warnings: Vec<String>,
}

/// Body of `POST /v1/apps/{app}/backups`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeBackup {
    /// Retention is to leave it alone.
    #[serde(default)]
    pub pinned: bool,
}

/// Body of `POST /v1/apps/{app}/backups/verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyBackup {
    /// Which dump; none: the newest.
    #[serde(default)]
    pub dump: Option<String>,
    /// Restore it into a database of its own, too, and count the rows.
    #[serde(default)]
    pub drill: bool,
}

/// Body of `POST /v1/apps/{app}/backups/restore`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreBackup {
    /// Which dump.
    #[serde(default)]
    pub dump: String,
    /// What was written since that dump is to be gone from the database.
    #[serde(default)]
    pub yes: bool,
}

/// Body of `POST /v1/apps/{app}/backups/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneBackups {
    /// Only tell.
    #[serde(default)]
    pub dry_run: bool,
}

/// Dumps that were let go: answer of `POST /v1/apps/{app}/backups/prune`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrunedBackups {
    /// Nothing was removed.
    pub dry_run: bool,
    /// Their names, oldest first.
    pub removed: Vec<String>,
}
