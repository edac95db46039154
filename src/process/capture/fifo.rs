//! A FIFO with a name, so that the next daemon finds it: fifo(7), pipe(7).

use std::{
    fs,
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileTypeExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use tokio::net::unix::pipe;

use super::{ProcessError, files::with_suffix};

/// What a child may write ahead of us, in bytes. The kernel's default is 64 KiB, and without
/// privilege the limit is /proc/sys/fs/pipe-max-size, usually this much.
const CAPACITY: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    /// Since when there is one.
    pub(super) since: Since,
}

/// Whether an earlier daemon may have used something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// We made it.
    Now,
    /// It was there.
    Before,
}

impl Fifo {
    /// Makes `dir/name`, or finds it again.
    pub(super) fn make(dir: &Path, name: &str) -> Result<Self, ProcessError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(ProcessError::file("make the directory", dir))?;
        let path = dir.join(name);
        let owner_only = Mode::RUSR | Mode::WUSR;
        match rustix::fs::mkfifoat(rustix::fs::CWD, &path, owner_only) {
            Ok(()) => Ok(Self { path, since: Since::Now }),
            Err(Errno::EXIST) => Self::existing(path),
            Err(e) => Err(ProcessError::file("make the FIFO", &path)(e.into())),
        }
    }

    fn existing(path: PathBuf) -> Result<Self, ProcessError> {
        let kind = fs::symlink_metadata(&path).map(|data| data.file_type());
        if kind.map_err(ProcessError::file("look at the FIFO", &path))?.is_fifo() {
            return Ok(Self { path, since: Since::Before });
        }
        let source = io::Error::new(ErrorKind::AlreadyExists, "it is no FIFO; remove it");
        Err(ProcessError::File { action: "use", path, source })
    }

    /// The file beside it for what was taken out of it.
    pub(super) fn spool(&self) -> PathBuf {
        with_suffix(&self.path, ".spool")
    }

    /// Our own end, which never waits and never sees an end of file. Needs a runtime.
    pub(super) fn reader(&self) -> Result<pipe::Receiver, ProcessError> {
        let opened = pipe::OpenOptions::new().read_write(true).open_receiver(&self.path);
        let reader = opened.map_err(ProcessError::file("open the FIFO", &self.path))?;
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(reader.as_fd(), CAPACITY) {
            // EPERM: the user's share is used up (pipe-user-pages-soft). It works without.
            tracing::debug!(path = %self.path.display(), %error, "a FIFO keeps its usual capacity");
        }
        Ok(reader)
    }

    /// An end for a child.
    pub(super) fn child_end(&self) -> Result<OwnedFd, ProcessError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
        rustix::fs::open(&self.path, flags, Mode::empty())
            .map_err(|e| ProcessError::file("open the FIFO", &self.path)(e.into()))
    }
}
