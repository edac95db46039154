//! Releases: which code an instance runs, how it is started, and how it is made.
//!
//! Made in a [`Workshop`]: fetched (`fetch`, `git`, `refs`, `archive`, `upload`), laid out and sealed (`build`,
//! `tree`, `share`), with an environment (`venv`, `requirements`), where there is room (`space`), and
//! kept (`shelf`).

mod account;
mod archive;
mod build;
mod error;
mod fetch;
mod git;
mod id;
mod launch;
mod manifest;
mod output;
mod refs;
mod requirements;
mod share;
mod shelf;
mod source;
mod space;
mod tree;
mod trust;
mod upload;
mod venv;
mod workshop;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use account::{Account, AccountError};
pub use error::{BuildError, Failure, FetchError, FileError, How, ShelfError};
pub use id::{made_at, short};
pub use launch::{Start, command, launch};
pub use manifest::{Manifest, Notes, Shelved, Unread, VenvNote};
pub use output::{Censor, Lines, Tell};
pub use shelf::Pruned;
pub use source::{Between, Commit, History, Origin, Relation, Source, Wanted};
pub use space::{Shortage, Weight};
pub use trust::{Trusted, Untrusted};
pub use upload::{Receiving, Upload, UploadError, UploadId};
pub use workshop::{Places, Workshop};

use crate::{config::Service, ident::ReleaseId};

/// Code at one state, in a directory that no symbolic link leads through: what `current` points to
/// may change, what an instance was started from may not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Release {
    /// Its own name, or the last component of its directory where it has none.
    pub id: ReleaseId,
    /// The directory itself.
    pub directory: PathBuf,
}

/// Why a directory is no release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It cannot be resolved.
    #[error("release {path}: {error}; put the code there, or correct the directory")]
    Unresolved {
        /// The directory as it was given.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// It is something else.
    #[error("release {0} is not a directory; name the directory that holds the code")]
    NotADirectory(PathBuf),
    /// It has no name that could be an id (the root, or not UTF-8).
    #[error("release {0} has no name to call it by; use a directory with a name in UTF-8")]
    Nameless(PathBuf),
}

impl Release {
    /// What has no releases of its own, a managed nginx above all, living in `directory`.
    #[must_use]
    pub fn unversioned(directory: &Path) -> Self {
        Self { id: ReleaseId("-".to_owned()), directory: directory.to_owned() }
    }

    /// What the service's directory resolves to now.
    ///
    /// # Errors
    /// When it does not lead to a directory.
    pub fn resolve(service: &Service) -> Result<Self, ReleaseError> {
        Self::at(&service.directory)
    }

    /// The release in `path`, links resolved.
    ///
    /// # Errors
    /// When it does not lead to a directory.
    pub fn at(path: &Path) -> Result<Self, ReleaseError> {
        let directory = path
            .canonicalize()
            .map_err(|error| ReleaseError::Unresolved { path: path.to_owned(), error })?;
        if !directory.is_dir() {
            return Err(ReleaseError::NotADirectory(directory));
        }
        // A service may run a part of a release: `current/backend`.
        let whole = directory.ancestors().find(|above| above.join(manifest::MANIFEST).is_file());
        let named = whole.unwrap_or(&directory).file_name();
        match named.and_then(|name| name.to_str()) {
            Some(name) => Ok(Self { id: ReleaseId(name.to_owned()), directory }),
            None => Err(ReleaseError::Nameless(directory)),
        }
    }
}
