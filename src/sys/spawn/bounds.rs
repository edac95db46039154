//! What the child gives up before its execve(2), in the form the kernel takes it, and the calls that
//! do it.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_ulong},
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use super::mounts::Mounts;
use crate::sys::confine::{NewPrivileges, OnRefusal, Rlimit};

/// What the child gives up.
#[derive(Debug, Default)]
pub struct Bounds {
    /// Its file mode creation mask.
    pub umask: u16,
    /// Its priority.
    pub nice: Option<i8>,
    /// setrlimit(2).
    pub rlimits: Vec<Rlimit>,
    /// Its view of the file system.
    pub mounts: Option<Mounts>,
    /// All that the bounding set keeps, as a bit set.
    pub bounding: Option<u64>,
    /// All that it is left with, as a bit set.
    pub capabilities: Option<u64>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub new_privileges: NewPrivileges,
    /// A Landlock ruleset to obey.
    pub landlock: Option<OwnedFd>,
    /// What follows when one of these is refused.
    pub on_refusal: OnRefusal,
    /// The cgroup it is born in limits what it may use.
    pub in_limited_cgroup: bool,
}

impl Bounds {
    /// Whether the child may run in the daemon's memory until its execve.
    ///
    /// File descriptors, umask, limits and `no_new_privs` are the child's own also when the memory
    /// is not, and change nothing about who may reach that memory. But a process with the daemon's
    /// uid and fewer capabilities than the daemon may trace another that has as few (ptrace(2)), and
    /// would find the daemon's memory in it; the same goes for what Landlock confines. And one that
    /// runs at a lower priority, or in a cgroup that is throttled or out of memory, would have the
    /// daemon wait for it.
    pub(super) fn share_memory(&self) -> bool {
        self.nice.is_none()
            && self.mounts.is_none()
            && self.bounding.is_none()
            && self.capabilities.is_none()
            && self.landlock.is_none()
            && !self.in_limited_cgroup
    }
}

/// setpriority(2) of the caller.
pub(super) unsafe fn set_nice(nice: i8) -> bool {
    // SAFETY: a system call on integers.
    unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, c_int::from(nice)) == 0 }
}

/// prlimit(2) of the caller.
pub(super) unsafe fn set_limit(limit: &Rlimit) -> bool {
    let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM64_INFINITY);
    let new = libc::rlimit64 { rlim_cur: number(limit.soft), rlim_max: number(limit.hard) };
    let old: *mut libc::rlimit64 = ptr::null_mut();
    // SAFETY: `new` lives until the call returns.
    unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, limit.resource.kernel() as u32, &raw const new, old)
            == 0
    }
}

/// Takes everything but `kept` out of the bounding set.
pub(super) unsafe fn drop_bounding(kept: u64) -> bool {
    for capability in 0..u64::BITS {
        if kept & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: prctl calls on integers; errno is this thread's own.
        unsafe {
            match prctl(libc::PR_CAPBSET_READ, c_ulong::from(capability)) {
                0 => {}
                1 if prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability)) == 0 => {}
                1 => return false,
                // Beyond the last one that this kernel knows.
                _ => return *libc::__errno_location() == libc::EINVAL,
            }
        }
    }
    true
}

/// Lets what is permitted survive the change to another user.
pub(super) unsafe fn keep_permitted() {
    // SAFETY: a system call on integers; it cannot fail with this argument.
    unsafe { prctl(libc::PR_SET_KEEPCAPS, 1) };
}

/// Leaves the caller with `kept`, and lets execve(2) keep that.
pub(super) unsafe fn set_capabilities(kept: u64) -> bool {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let half = |bits: u32| Data { effective: bits, permitted: bits, inheritable: bits };
    #[allow(clippy::cast_possible_truncation)] // the two halves
    let data = [half(kept as u32), half((kept >> 32) as u32)];
    let header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: capset reads the header and, for version 3, two halves; prctl calls on integers.
    unsafe {
        if libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) < 0 {
            return false;
        }
        ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0);
        (0..u64::BITS)
            .filter(|capability| kept & (1 << capability) != 0)
            .all(|capability| ambient(libc::PR_CAP_AMBIENT_RAISE, c_ulong::from(capability)) == 0)
    }
}

/// `PR_SET_NO_NEW_PRIVS`.
pub(super) unsafe fn refuse_new_privileges() -> bool {
    // SAFETY: a system call on integers.
    unsafe { prctl(libc::PR_SET_NO_NEW_PRIVS, 1) == 0 }
}

/// `landlock_restrict_self(2)`.
pub(super) unsafe fn obey(ruleset: &OwnedFd) -> bool {
    // SAFETY: a system call on integers.
    unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) == 0 }
}

unsafe fn prctl(option: c_int, argument: c_ulong) -> c_int {
    let none: c_ulong = 0;
    // SAFETY: the options used here take integers only.
    unsafe { libc::prctl(option, argument, none, none, none) }
}

unsafe fn ambient(what: c_int, capability: c_ulong) -> c_int {
    let none: c_ulong = 0;
    #[allow(clippy::cast_sign_loss)] // kernel ABI
    // SAFETY: this option takes integers only.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, what as c_ulong, capability, none, none)
    }
}
