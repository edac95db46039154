//! Control groups, version 2: to know and to end every process of a tree, for which no controller is
//! needed, and to limit it ([`limits`]). Source: the kernel's
//! `Documentation/admin-guide/cgroup-v2.rst`.

pub mod limits;

use std::{
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
    time::Duration,
};

use procfs::process::Process;
use rustix::{
    fs::{Mode, OFlags},
    process::Signal,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, timeout_at},
};

use super::{pidfd, watch::watch};

/// First and longest time between two looks at a tree that is ending. The kernel wakes us, but holds
/// notices back for up to 10 ms, and a dying process leaves its cgroup a moment after its parent
/// was told.
const LOOK: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(20));

/// The directory that holds the leaves of one daemon's instances.
#[derive(Debug, Clone)]
pub struct Base {
    mount: Mount,
    path: PathBuf,
}

impl Base {
    /// Makes (or finds again) the directory `name` in the delegated part of the tree that this
    /// process is in; `None` where there is no cgroup2 tree that we may write to.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let mount = mount()?;
        let own = mount.path_of("self")?;
        let path = delegated(&own, &mount.point).join(name);
        make_dir(&path).ok()?;
        // A leaf nobody can be put into would be worse than none.
        rustix::fs::access(path.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).ok()?;
        Some(Self { mount, path })
    }

    /// Makes (or finds again) one leaf.
    ///
    /// # Errors
    /// mkdir(2)'s and open(2)'s.
    pub fn leaf(&self, name: &str) -> io::Result<Leaf> {
        let path = self.path.join(name);
        let since = match make_dir(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                make_dir(&self.path)?;
                make_dir(&path)?
            }
            made => made?,
        };
        Ok(Leaf { path, since })
    }

    /// The leaf `name` that `pid` is in, also if it is below another directory than ours (an
    /// earlier daemon in another session); `None` when it is in no such leaf.
    #[must_use]
    pub fn leaf_of(&self, pid: i32, name: &str) -> Option<Leaf> {
        let path = self.mount.path_of(&pid.to_string())?;
        let ours = path.file_name() == Some(OsStr::new(name))
            && path.parent()?.file_name() == self.path.file_name()
            && path.starts_with(&self.mount.point);
        ours.then_some(Leaf { path, since: Since::Before })
    }

    /// Removes every leaf that is empty, and the base itself if none is left.
    pub fn tidy(&self) {
        for leaf in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if leaf.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_tree(&leaf.path());
            }
        }
        // A leaf in use makes this fail, as it should.
        let _ = fs::remove_dir(&self.path);
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A cgroup cannot be emptied of its files, only of its children; EBUSY where processes are left.
fn remove_tree(path: &Path) {
    for child in fs::read_dir(path).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&child.path());
        }
    }
    let _ = fs::remove_dir(path);
}

/// Whether a directory was there before it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Now,
    Before,
}

fn make_dir(path: &Path) -> io::Result<Since> {
    match fs::create_dir(path) {
        Ok(()) => Ok(Since::Now),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Since::Before),
        Err(e) => Err(e),
    }
}

#[derive(Debug, Clone)]
struct Mount {
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// Where the cgroup of `pid` stands in the file system, if this mount shows it.
    fn path_of(&self, pid: &str) -> Option<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = Path::new(unified(&text)?);
        let below = path.strip_prefix(&self.root).ok()?;
        let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        plain.then(|| self.point.join(below))
    }
}

fn mount() -> Option<Mount> {
    let mounts = Process::myself().ok()?.mountinfo().ok()?;
    mounts
        .0
        .into_iter()
        .find(|mount| mount.fs_type == "cgroup2")
        .map(|mount| Mount { root: PathBuf::from(mount.root), point: mount.mount_point })
}

/// The line of hierarchy 0 in /proc/PID/cgroup.
fn unified(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Where our directory goes: beside a daemon that systemd put into a sub-group of its unit
/// (`DelegateSubgroup=`), or that made one itself, else below the daemon's own group.
fn delegated<'a>(own: &'a Path, mount: &Path) -> &'a Path {
    let is_unit = |path: &Path| {
        path.extension().is_some_and(|suffix| suffix == "service" || suffix == "scope")
    };
    match own.parent() {
        Some(parent) if parent.starts_with(mount) && !is_unit(own) && is_unit(parent) => parent,
        Some(parent) if parent.starts_with(mount) && own.ends_with(limits::DAEMON) => parent,
        _ => own,
    }
}

/// The cgroup of one instance.
#[derive(Debug)]
pub struct Leaf {
    path: PathBuf,
    since: Since,
}

impl Leaf {
    /// The directory, as `CLONE_INTO_CGROUP` wants it.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.path, flags, Mode::empty())?)
    }

    /// Removes it, if it is empty. Once its `cgroup.kill` was written it is of no more use for
    /// `CLONE_INTO_CGROUP`: the kernel compares the leaf's count of kills with that of the parent's
    /// own cgroup, and kills the child at birth when they differ (seen on Linux 6.18).
    pub fn retire(&self) {
        remove_tree(&self.path);
    }

    /// Nobody was ever in it: it was not there before.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.since == Since::Now
    }

    /// Moves `pid` into it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take_in(&self, pid: i32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every process in it and below; zombies are not listed.
    ///
    /// # Errors
    /// When it cannot be read; a leaf that was removed has none.
    pub fn pids(&self) -> io::Result<Vec<i32>> {
        let mut found = Vec::new();
        pids_below(&self.path, &mut found)?;
        Ok(found)
    }

    /// Whether a living process is in it or below.
    ///
    /// # Errors
    /// When `cgroup.events` cannot be read.
    pub fn populated(&self) -> io::Result<bool> {
        let read = || -> io::Result<bool> {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let events = rustix::fs::open(self.path.join("cgroup.events"), flags, Mode::empty())?;
            read_populated(events.as_fd())
        };
        match read() {
            Err(e) if is_removed(&e) => Ok(false),
            read => read,
        }
    }

    /// SIGKILL to every process in it and below, at once (Linux 5.14), else one by one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> io::Result<()> {
        match fs::write(self.path.join("cgroup.kill"), "1") {
            Err(e) if is_removed(&e) || e.kind() == ErrorKind::PermissionDenied => {
                for pid in self.pids()? {
                    pidfd::signal_checked(pid, Signal::KILL, || {
                        self.pids().is_ok_and(|pids| pids.contains(&pid))
                    })?;
                }
                Ok(())
            }
            result => result,
        }
    }

    /// Waits until no living process is in it; `false` when one still is at `deadline`.
    ///
    /// # Errors
    /// When `cgroup.events` cannot be read.
    pub async fn wait_empty(&self, deadline: Instant) -> io::Result<bool> {
        if !self.populated()? {
            return Ok(true);
        }
        let events = Events::open(&self.path)?;
        let mut look = LOOK.0;
        while events.populated()? {
            let now = Instant::now();
            if now >= deadline {
                return Ok(false);
            }
            let _ = timeout_at(deadline.min(now + look), events.changed()).await;
            look = (look * 2).min(LOOK.1);
        }
        Ok(true)
    }
}

/// An open `cgroup.events`: it polls `POLLPRI` when it changed since it was last read.
struct Events(AsyncFd<OwnedFd>);

impl Events {
    fn open(path: &Path) -> io::Result<Self> {
        let file = fs::File::open(path.join("cgroup.events"))?;
        Ok(Self(watch(file.into(), Interest::PRIORITY)?))
    }

    fn populated(&self) -> io::Result<bool> {
        match read_populated(self.0.as_fd()) {
            Err(e) if is_removed(&e) => Ok(false),
            read => read,
        }
    }

    async fn changed(&self) -> io::Result<()> {
        self.0.ready(Interest::PRIORITY).await?.clear_ready();
        Ok(())
    }
}

fn read_populated(events: BorrowedFd<'_>) -> io::Result<bool> {
    let mut text = [0; 128];
    let n = rustix::io::pread(events, &mut text, 0)?;
    Ok(is_populated(&String::from_utf8_lossy(text.get(..n).unwrap_or_default())))
}

fn is_populated(events: &str) -> bool {
    events.lines().any(|line| line == "populated 1")
}

/// ENODEV: the directory was removed while a file of it was open.
fn is_removed(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn pids_below(path: &Path, found: &mut Vec<i32>) -> io::Result<()> {
    match fs::read_to_string(path.join("cgroup.procs")) {
        Ok(text) => found.extend(text.lines().filter_map(|pid| pid.parse::<i32>().ok())),
        Err(e) if is_removed(&e) => return Ok(()),
        Err(e) => return Err(e),
    }
    for child in fs::read_dir(path).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids_below(&child.path(), found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_line_is_found_among_others() {
        assert_eq!(unified("9:name=systemd:/\n0::/a/b\n"), Some("/a/b"));
        assert_eq!(unified("9:name=systemd:/\n"), None);
    }

    #[test]
    fn leaves_stand_beside_a_daemon_in_a_sub_group() {
        let mount = Path::new("/m");
        for (own, expected) in [
            ("/m/system.slice/aibkd.service/daemon", "/m/system.slice/aibkd.service"),
            ("/m/system.slice/aibkd.service", "/m/system.slice/aibkd.service"),
            ("/m/user.slice/session-3.scope", "/m/user.slice/session-3.scope"),
            ("/m/docker/x", "/m/docker/x"),
            ("/m/docker/x/aibkd", "/m/docker/x"),
            ("/m/aibkd", "/m"),
            ("/m", "/m"),
        ] {
            assert_eq!(delegated(Path::new(own), mount), Path::new(expected));
        }
    }
}
