//! The child, from clone3(2) to execve(2).
#![allow(unsafe_code)]

use std::{
    ffi::c_char,
    os::fd::{AsFd, AsRawFd, RawFd},
};

use super::{ALIVE, Plan, Stage, signals};

/// File mode creation mask of every child: umask(2).
const UMASK: libc::mode_t = 0o022;

/// What the child works with: memory of the parent, which the child finds at the same place, whether
/// it is a copy or not.
pub(super) struct Child<'a> {
    pub(super) plan: &'a Plan,
    pub(super) argv: &'a [*const c_char],
    pub(super) env: &'a [*const c_char],
    pub(super) report: RawFd,
}

impl Child<'_> {
    /// SAFETY of calling it: only in a child made by clone3, with every signal blocked. No
    /// allocation, no lock, no panic; nothing is written but this stack and errno.
    pub(super) unsafe fn run(&self) -> ! {
        // SAFETY: a system call on memory that lives on.
        unsafe { write(self.report, &[ALIVE]) };
        // SAFETY: the caller's promise is passed on.
        let failed = unsafe { self.stages() };
        // SAFETY: __errno_location is this thread's own, which nobody else uses: the parent's
        // thread, whose it is as well when the memory is shared, waits. _exit is a system call.
        unsafe {
            let errno = (*libc::__errno_location()).to_ne_bytes();
            write(self.report, &[failed as u8, errno[0], errno[1], errno[2], errno[3]]);
            libc::_exit(127)
        }
    }

    /// Returns only with the stage that failed; errno tells why.
    unsafe fn stages(&self) -> Stage {
        // SAFETY: raw calls on descriptors and strings that `plan` owns and that outlive them.
        unsafe {
            if libc::setsid() < 0 {
                return Stage::Session;
            }
            signals::reset();
            libc::umask(UMASK);
            for (target, fd) in (0..).zip(&self.plan.stdio) {
                if libc::dup3(fd.as_fd().as_raw_fd(), target, 0) < 0 {
                    return Stage::Stdio;
                }
            }
            // Refused before Linux 5.11; every descriptor of ours is close-on-exec anyway.
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            if !self.become_user() {
                return Stage::User;
            }
            if libc::chdir(self.plan.directory.as_ptr()) < 0 {
                return Stage::Directory;
            }
            libc::execve(self.plan.program.as_ptr(), self.argv.as_ptr(), self.env.as_ptr());
            Stage::Exec
        }
    }

    /// Raw calls, because glibc's wrappers would tell every thread, and here there is only one. The
    /// memory is a copy whenever there is somebody to become.
    unsafe fn become_user(&self) -> bool {
        let Some(who) = &self.plan.credentials else { return true };
        // SAFETY: the groups are a plain array of the length given.
        unsafe {
            libc::syscall(libc::SYS_setgroups, who.groups.len(), who.groups.as_ptr()) == 0
                && libc::syscall(libc::SYS_setresgid, who.gid, who.gid, who.gid) == 0
                && libc::syscall(libc::SYS_setresuid, who.uid, who.uid, who.uid) == 0
        }
    }
}

/// write(2) without its wrapper, which is a cancellation point and so writes to the state of the
/// thread.
unsafe fn write(fd: RawFd, bytes: &[u8]) {
    // SAFETY: the slice is readable for its length.
    unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) };
}
