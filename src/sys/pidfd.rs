//! Processes by descriptor: `pidfd_open(2)`, `pidfd_send_signal(2)`, waitid(2) with `P_PIDFD`.
#![allow(unsafe_code)]

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::proc;

/// How long a dead process that is not our child may stay unreaped before we stop asking how it
/// ended: the kernel tells only afterwards.
const REAPED_WITHIN: Duration = Duration::from_millis(500);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody can tell.
    Unknown,
}

/// Opens a pidfd; `None` when there is no such process.
///
/// # Errors
/// `pidfd_open(2)`'s, other than ESRCH.
pub fn open(pid: i32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(pid).filter(|pid| pid.as_raw_nonzero().get() > 0) else {
        return Ok(None);
    };
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        // EINVAL: the pid is a thread's, not a process's.
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Sends `signal`; `false` when the process is gone.
///
/// # Errors
/// `pidfd_send_signal(2)`'s, other than ESRCH: EPERM.
pub fn signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<bool> {
    match rustix::process::pidfd_send_signal(pidfd, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Sends `signal` to `pid` if `check` agrees. `check` runs while a pidfd pins the process, so what
/// it reads from /proc/PID is about the process that gets the signal, not about a later one with
/// the same number. `false`: it refused, or the process is gone.
///
/// # Errors
/// `pidfd_open(2)`'s and `pidfd_send_signal(2)`'s, other than ESRCH.
pub fn signal_checked(pid: i32, signal: Signal, check: impl FnOnce() -> bool) -> io::Result<bool> {
    let Some(pidfd) = open(pid)? else { return Ok(false) };
    if check() { self::signal(pidfd.as_fd(), signal) } else { Ok(false) }
}

/// Registers a pidfd with the runtime.
///
/// # Errors
/// `epoll_ctl(2)`'s.
pub fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    super::watch::watch(pidfd, Interest::READABLE)
}

/// A process whose end is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    /// Registered with [`watch`].
    pub pidfd: &'a AsyncFd<OwnedFd>,
    /// Its pid.
    pub pid: i32,
    /// When it was started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// Waits until the process has ended; a child is reaped. How another's child ended is told only on
/// Linux 6.15 and later, or by its zombie.
///
/// # Errors
/// epoll's or waitid(2)'s.
pub async fn ended(process: Watched<'_>) -> io::Result<Ended> {
    let pidfd = process.pidfd;
    loop {
        if let Some(ended) = try_ended(pidfd.as_fd())? {
            return Ok(ended);
        }
        if is_dead(pidfd.as_fd())? {
            return Ok(not_our_child(process).await);
        }
        wake(pidfd).await?;
    }
}

/// Waits until the process has ended, without reaping it.
///
/// # Errors
/// epoll's.
pub async fn gone(pidfd: &AsyncFd<OwnedFd>) -> io::Result<()> {
    while !is_dead(pidfd.as_fd())? {
        wake(pidfd).await?;
    }
    Ok(())
}

async fn wake(pidfd: &AsyncFd<OwnedFd>) -> io::Result<()> {
    pidfd.readable().await?.clear_ready();
    Ok(())
}

/// Reaps a child that has ended; for another's child asks what the kernel remembers.
///
/// # Errors
/// waitid(2)'s.
pub fn try_ended(pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match rustix::process::waitid(WaitId::PidFd(pidfd), options) {
        Ok(Some(status)) => Ok(Some(if let Some(code) = status.exit_status() {
            Ended::Code(code)
        } else {
            status.terminating_signal().map_or(Ended::Unknown, Ended::Signal)
        })),
        Ok(None) => Ok(None),
        Err(Errno::CHILD) => Ok(remembered(pidfd)),
        Err(e) => Err(e.into()),
    }
}

/// It is dead but not our child: its zombie tells how it ended, and after its parent has reaped it
/// the kernel does.
async fn not_our_child(process: Watched<'_>) -> Ended {
    let zombie = proc::stat(process.pid).ok().flatten().filter(|stat| {
        // Once it is reaped, the pid may be another's.
        stat.zombie && stat.start_ticks == process.start_ticks
    });
    if let Some(status) = zombie.and_then(|stat| stat.exit_status) {
        return from_status(status);
    }
    let asked = tokio::time::timeout(REAPED_WITHIN, async {
        loop {
            if let Some(ended) = remembered(process.pidfd.as_fd()) {
                return ended;
            }
            if !kernel_remembers(process.pidfd.as_fd()) || wake(process.pidfd).await.is_err() {
                return Ended::Unknown;
            }
        }
    });
    asked.await.unwrap_or(Ended::Unknown)
}

fn is_dead(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A pending signal interrupts it although it does not wait.
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&now)))?;
    Ok(ready > 0)
}

/// A status as waitpid(2) has it.
fn from_status(status: i32) -> Ended {
    if libc::WIFEXITED(status) {
        Ended::Code(libc::WEXITSTATUS(status))
    } else {
        Ended::Signal(libc::WTERMSIG(status))
    }
}

/// `PIDFD_INFO_EXIT` (Linux 6.15): how a process ended, told to anybody who held its pidfd.
fn remembered(pidfd: BorrowedFd<'_>) -> Option<Ended> {
    let info = info(pidfd).ok()?;
    if info.mask & u64::from(libc::PIDFD_INFO_EXIT) == 0 {
        return None;
    }
    Some(from_status(info.exit_code))
}

/// Whether asking again can help: an old kernel refuses the request itself.
fn kernel_remembers(pidfd: BorrowedFd<'_>) -> bool {
    match info(pidfd) {
        Ok(_) => true,
        Err(e) => e.raw_os_error() == Some(libc::ESRCH),
    }
}

fn info(pidfd: BorrowedFd<'_>) -> io::Result<libc::pidfd_info> {
    // SAFETY: all of pidfd_info's fields are integers; zero is a valid value of each.
    let mut info: libc::pidfd_info = unsafe { MaybeUninit::zeroed().assume_init() };
    info.mask = u64::from(libc::PIDFD_INFO_EXIT);
    // SAFETY: the request carries the size of the structure that it writes.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(info) }
}
