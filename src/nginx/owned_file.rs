//! The one file we own: read back, replaced durably, put back.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{Edited, NginxError, flag, flip::with_flags, render};
use crate::sync_point;

/// nginx's workers do not read it, but whoever runs `nginx -t` does.
const MODE: u32 = 0o644;

/// The owned file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnDisk {
    /// All of it.
    pub(super) text: String,
    /// What its header says, and the flags that are beside it.
    pub(super) edited: Edited,
}

/// Reads the file at `path`; `None` when there is none, or an empty one.
///
/// # Errors
/// When it cannot be read, is not ours, or does not read back (`S4`: it is left alone then).
pub(super) fn read(path: &Path) -> Result<Option<OnDisk>, NginxError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => return Ok(None),
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    match render::read_back(&text) {
        Some(Ok(written)) => Ok(Some(OnDisk { text, edited: with_flags(written, flag::look) })),
        Some(Err(error)) => {
            Err(NginxError::Damaged { path: path.to_owned(), why: error.to_string() })
        }
        None => Err(NginxError::NotOurs { path: path.to_owned() }),
    }
}

/// Puts `text` in the place of `path`: at every instant either the old content is there or the
/// new, whole. The change is durable once [`sync_directory`] has returned.
///
/// # Errors
/// When the directory is missing or not writable, or the disk is full; nothing is changed then.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), NginxError> {
    let new = temporary(path);
    let written = write_new(&new, text).map_err(failed("write", &new)).and_then(|()| {
        sync_point!("nginx.written");
        std::fs::rename(&new, path).map_err(failed("replace", path))
    });
    if written.is_err() {
        // Best effort: the next replace removes it too, and no include pattern matches it.
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// Removes what a daemon that was killed in the middle of [`replace`] has left beside `path`.
///
/// # Errors
/// When the directory is not writable.
pub(super) fn clear(path: &Path) -> Result<(), NginxError> {
    remove(&temporary(path))
}

/// Removes the file at `path`; one that is not there is no error.
///
/// # Errors
/// When the directory is not writable.
pub(super) fn remove(path: &Path) -> Result<(), NginxError> {
    gone(std::fs::remove_file(path)).map_err(failed("remove", path))
}

/// Makes the last change of `path`'s name durable.
///
/// # Errors
/// When the directory cannot be synchronized.
pub(super) fn sync_directory(path: &Path) -> Result<(), NginxError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("synchronize the directory", directory))
}

/// Beside the file, so that a rename suffices, and under a name that neither `*` nor `*.conf` in
/// an `include` matches.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.aibk-new"))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    gone(std::fs::remove_file(path))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NginxError {
    let path = path.to_owned();
    move |source| NginxError::File { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "# aibk: {\"edition\":3,\"upstreams\":{}}\n";

    #[test]
    fn a_replaced_file_reads_back_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aibk.conf");
        assert_eq!(read(&path).unwrap(), None);
        std::fs::write(dir.path().join(".aibk.conf.aibk-new"), "left by a crash").unwrap();
        for _ in 0..2 {
            replace(&path, OURS).unwrap();
            sync_directory(&path).unwrap();
        }
        assert_eq!(read(&path).unwrap().unwrap().edited.edition.0, 3);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn a_file_of_someone_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aibk.conf");
        std::fs::write(&path, "upstream api { server 127.0.0.1:1; }\n").unwrap();
        assert!(matches!(read(&path), Err(NginxError::NotOurs { .. })));
        std::fs::write(&path, "# aibk: {\"edition\":\n").unwrap();
        assert!(matches!(read(&path), Err(NginxError::Damaged { .. })));
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = replace(&dir.path().join("none/aibk.conf"), OURS).unwrap_err();
        assert!(error.to_string().contains("none/.aibk.conf.aibk-new"), "{error}");
    }
}
