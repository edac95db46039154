//! What a sealed release says of itself, and what is noted about it later, beside it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Commit, Weight};
use crate::ident::ReleaseId;

/// In the release.
pub(super) const MANIFEST: &str = ".aibk-release.json";

/// A manifest or a note that is larger is none of ours.
const LARGEST: u64 = 1024 * 1024;

/// What a sealed release says of itself. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name.
    pub id: ReleaseId,
    /// Of which application.
    pub app: String,
    /// Which commit it is.
    pub commit: Option<Commit>,
    /// What that was called.
    pub reference: Option<String>,
    /// The commit, or the SHA-256 of the code.
    pub digest: String,
    /// When it was sealed.
    pub sealed: Timestamp,
    /// Who had it made.
    pub by: Option<String>,
    /// Its environment; `None` where nothing is installed.
    pub venv: Option<VenvNote>,
    /// What its own files came to, without the environment.
    pub weight: Weight,
}

/// The environment of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VenvNote {
    /// Its name below `venvs`: the hash of all that went into it.
    pub hash: String,
    /// The file that says what is installed.
    pub from: PathBuf,
    /// SHA-256 of that file and of what it includes.
    pub lock: String,
    /// Version of Python.
    pub python: String,
    /// Who installed.
    pub installer: String,
}

/// What is noted about a release after it was sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// It stays until it is unpinned.
    pub pinned: bool,
    /// The revisions that its migrations end in.
    pub heads: Option<Vec<String>>,
}

/// A release that is there.
#[derive(Debug)]
pub struct Shelved {
    /// Its name.
    pub id: ReleaseId,
    /// What it says of itself.
    pub manifest: Result<Manifest, Unread>,
    /// What was noted about it.
    pub notes: Notes,
}

/// A manifest or a note that cannot be read: it is left as it is (`S4`).
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}; look at it, or remove that release", .path.display())]
pub struct Unread {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl Manifest {
    /// Reads that of the release in `directory`; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(directory: &Path) -> Result<Option<Self>, Unread> {
        read(&directory.join(MANIFEST))
    }
}

/// Reads the file at `path`; `None` when there is none.
pub(super) fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, Unread> {
    let unread = |why: String| Unread { path: path.to_owned(), why };
    match fs::symlink_metadata(path) {
        Ok(seen) if seen.is_file() && seen.len() <= LARGEST => {}
        Ok(_) => return Err(unread("it is none of aibk's".to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unread(e.to_string())),
    }
    let bytes = fs::read(path).map_err(|e| unread(e.to_string()))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| unread(e.to_string()))
}

/// Puts `value` in the place of what was at `path`, durably.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    // Whatever stands there, nothing is written through a link.
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync(path.parent().unwrap_or(Path::new("/")))
}

/// Makes the names in `directory` durable.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}
