//! The real kernel, with errors put in its way.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Mutex,
};

use rustix::{io::Errno, process::Signal};

use super::{
    kernel::{Kernel, Linux},
    place::Place,
    sockets::Holder,
    spawn::{Plan, Started},
};

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`Kernel::start`].
    Start,
    /// [`Kernel::open`].
    Open,
    /// [`Kernel::signal`].
    Signal,
    /// [`Kernel::pids`].
    Pids,
    /// [`Kernel::listener`].
    Listener,
}

/// Answers as [`Linux`] does, except for the failures that were ordered.
#[derive(Debug, Default)]
pub struct Faulty {
    ordered: Mutex<BTreeMap<Call, VecDeque<Errno>>>,
}

impl Faulty {
    /// Orders the next `call` that has no failure yet to fail with `errno`.
    pub fn fail(&self, call: Call, errno: Errno) {
        self.ordered.lock().unwrap().entry(call).or_default().push_back(errno);
    }

    /// Forgets every failure that was ordered.
    pub fn forgive(&self) {
        self.ordered.lock().unwrap().clear();
    }

    fn check(&self, call: Call) -> io::Result<()> {
        let errno = self.ordered.lock().unwrap().get_mut(&call).and_then(VecDeque::pop_front);
        errno.map_or(Ok(()), |errno| Err(errno.into()))
    }
}

impl Kernel for Faulty {
    fn start(&self, plan: &Plan, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Started> {
        self.check(Call::Start)?;
        Linux.start(plan, cgroup)
    }

    fn open(&self, pid: i32) -> io::Result<Option<OwnedFd>> {
        self.check(Call::Open)?;
        Linux.open(pid)
    }

    fn signal(&self, pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<bool> {
        self.check(Call::Signal)?;
        Linux.signal(pidfd, signal)
    }

    fn pids(&self, place: &Place) -> io::Result<Vec<i32>> {
        self.check(Call::Pids)?;
        Linux.pids(place)
    }

    fn listener(&self, port: u16) -> io::Result<Option<Holder>> {
        self.check(Call::Listener)?;
        Linux.listener(port)
    }
}
