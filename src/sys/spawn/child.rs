//! The child, from clone3(2) to execve(2).
#![allow(unsafe_code)]

use std::{convert::Infallible, ffi::c_char, os::fd::RawFd};

use super::{
    ALIVE, FAILED, LISTENER, Plan, REFUSED, Stage, bounds, mounts::Mounts, seats::Given, signals,
};
use crate::sys::confine::{NewPrivileges, OnRefusal};

/// A stage, and which of the things that it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step(pub(super) Stage, pub(super) u8);

impl From<Stage> for Step {
    fn from(stage: Stage) -> Self {
        Self(stage, 0)
    }
}

/// What the child works with: memory of the parent, which the child finds at the same place, whether
/// it is a copy or not.
pub(super) struct Child<'a> {
    pub(super) plan: &'a Plan,
    pub(super) argv: &'a [*const c_char],
    pub(super) env: &'a [*const c_char],
    pub(super) given: Given,
}

impl Child<'_> {
    /// SAFETY of calling it: only in a child made by clone3, with every signal blocked. No
    /// allocation, no lock, no panic; nothing is written but this stack and errno.
    pub(super) unsafe fn run(&self) -> ! {
        // SAFETY: a system call on memory that lives on.
        unsafe { write(self.given.report, &[ALIVE]) };
        // SAFETY: the caller's promise is passed on.
        let Err(failed) = unsafe { self.stages() };
        // SAFETY: _exit is a system call.
        unsafe {
            self.tell(FAILED, failed);
            libc::_exit(127)
        }
    }

    /// Writes `step` and errno to the parent.
    unsafe fn tell(&self, outcome: u8, Step(stage, item): Step) {
        // SAFETY: __errno_location is this thread's own, which nobody else uses: the parent's
        // thread, whose it is as well when the memory is shared, waits.
        unsafe {
            let [a, b, c, d] = (*libc::__errno_location()).to_ne_bytes();
            write(self.given.report, &[outcome, stage as u8, item, a, b, c, d]);
        }
    }

    /// Whether to go on after `step`, which was asked for and `done` or refused.
    unsafe fn asked(&self, step: Step, done: bool) -> Result<(), Step> {
        match (done, self.plan.bounds.on_refusal) {
            (true, _) => Ok(()),
            (false, OnRefusal::Fail) => Err(step),
            (false, OnRefusal::Warn) => {
                // SAFETY: as the caller's.
                unsafe { self.tell(REFUSED, step) };
                Ok(())
            }
        }
    }

    /// Returns only with the stage that failed; errno tells why.
    unsafe fn stages(&self) -> Result<Infallible, Step> {
        // SAFETY: raw calls on descriptors and strings that `plan` owns and that outlive them.
        unsafe {
            must(self.own_descriptors(), Stage::Stdio)?;
            must(libc::setsid() >= 0, Stage::Session)?;
            signals::reset();
            libc::umask(self.plan.bounds.umask.into());
            for (target, fd) in (0..).zip(self.given.stdio) {
                must(libc::dup3(fd, target, 0) >= 0, Stage::Stdio)?;
            }
            // Refused before Linux 5.11; every descriptor of ours is close-on-exec anyway.
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            self.give_up_as_daemon()?;
            must(self.become_user(), Stage::User)?;
            self.give_up_as_user()?;
            must(libc::chdir(self.plan.directory.as_ptr()) >= 0, Stage::Directory)?;
            must(self.place_listener(), Stage::Stdio)?;
            libc::execve(self.plan.program.as_ptr(), self.argv.as_ptr(), self.env.as_ptr());
            Err(Stage::Exec.into())
        }
    }

    /// Ends the sharing of the table of descriptors, before anything is changed in it.
    unsafe fn own_descriptors(&self) -> bool {
        let Some(rest) = self.given.shared_from else { return true };
        // SAFETY: both calls replace the table of this process by a copy (close_range(2), Linux 5.9,
        // by one without the rest), and change nothing in the daemon's.
        unsafe {
            let flags = libc::CLOSE_RANGE_UNSHARE;
            libc::syscall(libc::SYS_close_range, rest, u32::MAX, flags) == 0
                || libc::syscall(libc::SYS_unshare, libc::CLONE_FILES) == 0
        }
    }

    /// What takes the daemon's rights.
    unsafe fn give_up_as_daemon(&self) -> Result<(), Step> {
        let bounds = &self.plan.bounds;
        // SAFETY: system calls on what `plan` owns.
        unsafe {
            if let Some(nice) = bounds.nice {
                self.asked(Stage::Nice.into(), bounds::set_nice(nice))?;
            }
            for (i, limit) in (0..).zip(&bounds.rlimits) {
                self.asked(Step(Stage::Limit, i), bounds::set_limit(limit))?;
            }
            if let Some(mounts) = &bounds.mounts {
                let unshared = Mounts::unshare();
                self.asked(Stage::Namespace.into(), unshared)?;
                // What would be mounted without it would be mounted for the whole host.
                if unshared {
                    mounts.apply(|step, done| self.asked(step, done))?;
                }
            }
            if let Some(kept) = bounds.bounding {
                self.asked(Stage::Bounding.into(), bounds::drop_bounding(kept))?;
            }
            if bounds.capabilities.is_some_and(|kept| kept != 0) {
                bounds::keep_permitted();
            }
        }
        Ok(())
    }

    /// What is left once it is its user. `no_new_privs` comes before Landlock, which asks for it.
    unsafe fn give_up_as_user(&self) -> Result<(), Step> {
        let bounds = &self.plan.bounds;
        // SAFETY: system calls on what `plan` owns.
        unsafe {
            if let Some(kept) = bounds.capabilities {
                self.asked(Stage::Capabilities.into(), bounds::set_capabilities(kept))?;
            }
            if bounds.new_privileges == NewPrivileges::Refused {
                self.asked(Stage::NewPrivileges.into(), bounds::refuse_new_privileges())?;
            }
            if let Some(ruleset) = &bounds.landlock {
                self.asked(Stage::Landlock.into(), bounds::obey(ruleset))?;
            }
        }
        Ok(())
    }

    /// Under its number, without close-on-exec; last, for any other descriptor may have the number
    /// until then. dup3(2) refuses to copy a descriptor to itself.
    unsafe fn place_listener(&self) -> bool {
        let Some(fd) = self.given.listener else { return true };
        // SAFETY: raw calls on a descriptor that `plan` owns. What they replace is this process's
        // copy of it; the one that is needed later, for the report, has a greater number.
        unsafe {
            if fd == LISTENER {
                libc::fcntl(fd, libc::F_SETFD, 0) == 0
            } else {
                libc::dup3(fd, LISTENER, 0) == LISTENER
            }
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

fn must(done: bool, stage: Stage) -> Result<(), Step> {
    if done { Ok(()) } else { Err(stage.into()) }
}

/// write(2) without its wrapper, which is a cancellation point and so writes to the state of the
/// thread.
unsafe fn write(fd: RawFd, bytes: &[u8]) {
    // SAFETY: the slice is readable for its length.
    unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) };
}
