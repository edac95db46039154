//! A FIFO with a name, so that the next daemon finds it: fifo(7), pipe(7). Where somebody has removed
//! the name, those who have it open still find it: by their descriptors (`process/relics.rs`).

use std::{
    fs,
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileTypeExt},
    },
    path::{Path, PathBuf},
    task::{Context, Poll, ready},
};

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{ProcessError, Shelf, files::with_suffix};
use crate::{ident::InstanceId, process::Stream, sys::watch::watch};

/// What a child may write ahead of us, in bytes. The kernel's default is 64 KiB, and without
/// privilege the limit is /proc/sys/fs/pipe-max-size, usually this much.
const CAPACITY: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    /// Since when there is one.
    pub(super) since: Since,
    /// Our own end, which never waits and never sees an end of file.
    reader: AsyncFd<OwnedFd>,
}

/// Whether an earlier daemon may have used something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// We made it.
    Now,
    /// It was there.
    Before,
}

/// Where the FIFO of `name` for `stream` has its name.
pub(in crate::process) fn path(runtime_dir: &Path, name: &InstanceId, stream: Stream) -> PathBuf {
    let end = match stream {
        Stream::Stdout => "out",
        Stream::Stderr => "err",
    };
    runtime_dir.join("fifo").join(format!("{name}.{end}"))
}

impl Fifo {
    /// Makes the one at `path`, or finds it again: by its name, or on `shelf`. Needs a runtime.
    pub(super) fn make(path: PathBuf, shelf: &Shelf) -> Result<Self, ProcessError> {
        if let Some(found) = shelf.take_fifo(&path) {
            let found = rustix::io::ioctl_fionbio(&found, true).map(|()| found);
            let reader = found.map_err(io::Error::from).and_then(watched);
            let reader = reader.map_err(ProcessError::file("open the FIFO", &path))?;
            return Ok(Self { path, since: Since::Before, reader });
        }
        let since = match make(&path) {
            Err(Errno::NOENT) => {
                let dir = path.parent().unwrap_or(Path::new("/"));
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
                made.map_err(ProcessError::file("make the directory", dir))?;
                make(&path)
            }
            made => made,
        };
        let since = since.map_err(|e| ProcessError::file("make the FIFO", &path)(e.into()))?;
        if since == Since::Before {
            is_fifo(&path)?;
        }
        let reader = open(&path)?;
        Ok(Self { path, since, reader })
    }

    /// The file beside it for what was taken out of it.
    pub(super) fn spool(&self) -> PathBuf {
        with_suffix(&self.path, ".spool")
    }

    /// Whether there may be something in it; else `context` is woken once there may be. For one task
    /// only: no second one is woken.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(self.reader.poll_read_ready(context)).map(|mut it| it.retain_ready()))
    }

    /// Does `read`, and waits for more before the next time where it found nothing.
    pub(super) fn try_read<T>(
        &self,
        read: impl FnOnce(&OwnedFd) -> io::Result<T>,
    ) -> io::Result<T> {
        self.reader.try_io(Interest::READABLE, read)
    }

    /// Bytes that are in it.
    pub(super) fn pending(&self) -> io::Result<u64> {
        Ok(rustix::io::ioctl_fionread(&self.reader)?)
    }

    /// What it has room for, in bytes.
    pub(super) fn capacity(&self) -> io::Result<usize> {
        Ok(rustix::pipe::fcntl_getpipe_size(&self.reader)?)
    }

    /// Whether nobody has removed its name.
    pub(super) fn has_name(&self) -> bool {
        let own = rustix::fs::fstat(&self.reader).map(|seen| (seen.st_dev, seen.st_ino));
        let named = rustix::fs::lstat(&self.path).map(|seen| (seen.st_dev, seen.st_ino));
        matches!((own, named), (Ok(own), Ok(named)) if own == named)
    }

    /// An end for a child: of this FIFO, whatever its name is by now.
    pub(super) fn child_end(&self) -> Result<OwnedFd, ProcessError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
        let own = format!("/proc/self/fd/{}", self.reader.as_fd().as_raw_fd());
        rustix::fs::open(own, flags, Mode::empty())
            .map_err(|e| ProcessError::file("open the FIFO", &self.path)(e.into()))
    }
}

fn make(path: &Path) -> rustix::io::Result<Since> {
    match rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR) {
        Ok(()) => Ok(Since::Now),
        Err(Errno::EXIST) => Ok(Since::Before),
        Err(e) => Err(e),
    }
}

fn is_fifo(path: &Path) -> Result<(), ProcessError> {
    let kind = fs::symlink_metadata(path).map(|data| data.file_type());
    if kind.map_err(ProcessError::file("look at the FIFO", path))?.is_fifo() {
        return Ok(());
    }
    let source = io::Error::new(ErrorKind::AlreadyExists, "it is no FIFO; remove it");
    Err(ProcessError::File { action: "use", path: path.to_owned(), source })
}

fn open(path: &Path) -> Result<AsyncFd<OwnedFd>, ProcessError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
    let reader = opened.and_then(watched).map_err(ProcessError::file("open the FIFO", path))?;
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(reader.as_fd(), CAPACITY) {
        // EPERM: the user's share is used up (pipe-user-pages-soft). It works without.
        tracing::debug!(path = %path.display(), %error, "a FIFO keeps its usual capacity");
    }
    Ok(reader)
}

/// `fd`, which must be of a FIFO and never wait, as the runtime watches it.
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    if kind != FileType::Fifo {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no FIFO"));
    }
    watch(fd, Interest::READABLE)
}
