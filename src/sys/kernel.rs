//! The narrow seam through which process trees reach the system, so that a test can make it fail.

use std::{
    fmt, io,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::process::Signal;

use super::{
    pidfd,
    place::Place,
    sockets::{self, Holder},
    spawn::{self, Plan, Started},
};

/// The calls whose failure the process room must handle.
pub trait Kernel: fmt::Debug + Send + Sync {
    /// [`spawn::start`].
    ///
    /// # Errors
    /// As there.
    fn start(&self, plan: &Plan, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Started>;

    /// [`pidfd::open`].
    ///
    /// # Errors
    /// As there.
    fn open(&self, pid: i32) -> io::Result<Option<OwnedFd>>;

    /// [`pidfd::signal`].
    ///
    /// # Errors
    /// As there.
    fn signal(&self, pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<bool>;

    /// [`Place::pids`].
    ///
    /// # Errors
    /// As there.
    fn pids(&self, place: &Place) -> io::Result<Vec<i32>>;

    /// [`sockets::listener`].
    ///
    /// # Errors
    /// As there.
    fn listener(&self, port: u16) -> io::Result<Option<Holder>>;
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

impl Kernel for Linux {
    fn start(&self, plan: &Plan, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Started> {
        spawn::start(plan, cgroup)
    }

    fn open(&self, pid: i32) -> io::Result<Option<OwnedFd>> {
        pidfd::open(pid)
    }

    fn signal(&self, pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<bool> {
        pidfd::signal(pidfd, signal)
    }

    fn pids(&self, place: &Place) -> io::Result<Vec<i32>> {
        place.pids()
    }

    fn listener(&self, port: u16) -> io::Result<Option<Holder>> {
        sockets::listener(port)
    }
}
