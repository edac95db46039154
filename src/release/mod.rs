//! Releases: which code an instance runs, and how it is started.

mod account;
mod launch;
mod trust;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use account::{Account, AccountError};
pub use launch::{Start, command, launch};
pub use trust::{Trusted, Untrusted};

use crate::{config::Service, ident::ReleaseId};

/// Code at one state, in a directory that no symbolic link leads through: what `current` points to
/// may change, what an instance was started from may not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Release {
    /// The last component of its directory.
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
        match directory.file_name().and_then(|name| name.to_str()) {
            Some(name) => Ok(Self { id: ReleaseId(name.to_owned()), directory }),
            None => Err(ReleaseError::Nameless(directory)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_release_it_points_to_now() {
        let home = tempfile::tempdir().unwrap();
        let (current, one) = (home.path().join("current"), home.path().join("r1"));
        std::fs::create_dir(&one).unwrap();
        std::os::unix::fs::symlink("r1", &current).unwrap();
        let release = Release::at(&current).unwrap();
        assert_eq!(release.id, ReleaseId("r1".to_owned()));
        assert_eq!(release.directory, one.canonicalize().unwrap());
    }

    #[test]
    fn what_is_no_directory_is_no_release() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(Release::at(file.path()), Err(ReleaseError::NotADirectory(_))));
        assert!(matches!(Release::at(Path::new("/")), Err(ReleaseError::Nameless(_))));
        let gone = Release::at(Path::new("/nonexistent/r1")).unwrap_err().to_string();
        assert!(gone.starts_with("release /nonexistent/r1: "), "{gone}");
    }
}
