//! FIFOs whose names somebody has removed, found by whoever still writes to them.
//!
//! What lies in a FIFO lives as long as anybody has it open, with a name or without; the name only
//! lets the next daemon find it. A process of the instance shows it, too: opening /proc/PID/fd/N opens
//! the same FIFO again (proc(5)).

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags};

use super::{Identity, Launcher, Shelf, Stream, capture};
use crate::{ident::InstanceId, sys::session::Session};

impl Launcher {
    /// Puts on `found` every FIFO of `of` that has no name any more and that the tree of `who`, which
    /// an earlier daemon started, has open.
    pub fn find_fifos(&self, of: &InstanceId, who: &Identity, runtime_dir: &Path, found: &Shelf) {
        let paths = [Stream::Stdout, Stream::Stderr]
            .map(|stream| capture::fifo_path(runtime_dir, of, stream));
        let nameless: Vec<&PathBuf> =
            paths.iter().filter(|path| fs::symlink_metadata(path).is_err()).collect();
        if nameless.is_empty() || *who.boot_id != *self.boot_id() {
            return;
        }
        let tree = self.tree_of(of, who);
        for path in nameless {
            if let Some(fifo) = tree.iter().find_map(|pid| held_by(*pid, path)) {
                tracing::warn!(
                    path = %path.display(),
                    "somebody has removed this FIFO; what {of} writes is read on all the same"
                );
                found.put_fifo(path, fifo);
            }
        }
    }

    fn tree_of(&self, of: &InstanceId, who: &Identity) -> Vec<i32> {
        let leaf = self.base().and_then(|base| base.leaf(&of.to_string()).ok());
        let inside = leaf.and_then(|leaf| leaf.pids().ok()).unwrap_or_default();
        let session = Session { id: who.pid, start_ticks: who.start_ticks };
        if inside.is_empty() { session.pids().unwrap_or_default() } else { inside }
    }
}

/// The FIFO that had its name at `path`, if `pid` has it open.
fn held_by(pid: i32, path: &Path) -> Option<OwnedFd> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().map(|entry| entry.path());
    let mut ours = links.filter(|link| fs::read_link(link).is_ok_and(|to| was_at(&to, path)));
    ours.find_map(|link| open(&link).ok().flatten())
}

/// Whether what is now at `to`, or was until it was deleted, may once have been at `path`: the runtime
/// directory may have been moved before it was deleted.
fn was_at(to: &Path, path: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let to = name(to);
    to.as_deref().map(|to| to.strip_suffix(" (deleted)").unwrap_or(to)) == name(path).as_deref()
}

/// `None` when it is not as we make them: a process may have opened anything under any name.
fn open(link: &Path) -> io::Result<Option<OwnedFd>> {
    let seen = rustix::fs::stat(link)?;
    let is_fifo = FileType::from_raw_mode(seen.st_mode) == FileType::Fifo;
    let owner_only = Mode::from_raw_mode(seen.st_mode) == Mode::RUSR | Mode::WUSR;
    let is_ours = seen.st_uid == rustix::process::geteuid().as_raw();
    if !(is_fifo && owner_only && is_ours) {
        return Ok(None);
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(Some(rustix::fs::open(link, flags, Mode::empty())?))
}
