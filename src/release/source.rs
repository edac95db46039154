//! What a release is to be made of.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Upload, id, space::Weight};
use crate::ident::ReleaseId;

/// What somebody wants to deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// A branch, a tag, a whole or a short commit; `None`: what the configuration says.
    Ref(Option<String>),
    /// A tarball that was sent, maybe compressed by gzip.
    Archive(Upload),
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its whole name.
    pub id: String,
    /// The first line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// When it was committed.
    pub when: Timestamp,
}

/// Where the code is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// In the mirror.
    Git,
    /// In a directory.
    Directory(PathBuf),
    /// In a tarball.
    Archive(PathBuf),
}

/// What became of a reference since it was fetched last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Nobody knows: it was never fetched before, or what lies between is not in the mirror.
    Unknown,
    /// It stands where it stood, or went on from there.
    Onward,
    /// It does not hold any more what it held: it was forced.
    Rewritten {
        /// The commit that it was at.
        was: String,
    },
}

/// What a release is to be made of. It can be written down: it means the same tomorrow, or is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it is.
    pub origin: Origin,
    /// Which commit it is, where git knows.
    pub commit: Option<Commit>,
    /// What it was called: a branch or a tag.
    pub reference: Option<String>,
    /// The commit, or the SHA-256 of what it holds.
    pub digest: String,
    /// What became of the reference.
    pub history: History,
    /// What its files need.
    pub weight: Weight,
}

impl Wanted {
    /// The archive that it needs for as long as it is wanted.
    #[must_use]
    pub const fn upload(&self) -> Option<&Upload> {
        match self {
            Self::Archive(upload) => Some(upload),
            Self::Ref(_) => None,
        }
    }
}

impl Source {
    /// The name of a release that is made of it at `when`.
    #[must_use]
    pub fn release_id(&self, when: Timestamp) -> ReleaseId {
        id::name(when, &self.digest)
    }

    /// Whether the reference was forced since it was fetched last.
    #[must_use]
    pub const fn rewritten(&self) -> bool {
        matches!(self.history, History::Rewritten { .. })
    }
}

/// How one commit is related to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// They are the same.
    Same,
    /// The new one holds the old one.
    Onward,
    /// The old one holds the new one.
    Back,
    /// Neither holds the other: a branch was forced, or another one is deployed.
    Apart,
    /// The mirror does not reach far enough to tell.
    Unknown,
}

/// What lies between two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Between {
    /// How they are related.
    pub relation: Relation,
    /// What the new one holds and the old one does not, newest first.
    pub commits: Vec<Commit>,
}
