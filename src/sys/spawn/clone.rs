//! clone3(2), in the two ways that a child is made here.
#![allow(unsafe_code)]

use std::{
    ffi::c_int,
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::{Plan, child::Child};

/// `CLONE_INTO_CGROUP`; libc has it as an i32, which it does not fit into.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Whose memory the child runs in until its execve(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// The daemon's, while the calling thread waits: vfork(2). Nothing is copied, which is most of
    /// what a start costs; nor are the descriptors, until the child takes those that it needs.
    Lent,
    /// A copy: fork(2).
    Copied,
}

impl Memory {
    /// A child that becomes another user gets a copy. That user could stop it with SIGSTOP before
    /// its execve, and the daemon, which waits for that, with it; and set*uid(2) would make the
    /// memory that it shares undumpable (`PR_SET_DUMPABLE`), which is the daemon's. Whoever may
    /// signal any other child may signal the daemon as well. What else needs a copy is told at
    /// [`super::Bounds::share_memory`].
    pub(super) fn of(plan: &Plan) -> Self {
        if cfg!(all(target_arch = "x86_64", target_pointer_width = "64"))
            && plan.credentials.is_none()
            && plan.bounds.share_memory()
        {
            Self::Lent
        } else {
            Self::Copied
        }
    }
}

/// Makes the process of `child`; returns its pid and its pidfd. Every signal must be blocked.
#[allow(clippy::cast_sign_loss)] // kernel ABI
pub(super) fn child(
    child: &Child<'_>,
    memory: Memory,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: c_int = -1;
    // SAFETY: all of clone_args' fields are integers, for which zero means "not asked for".
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    let pid = match memory {
        Memory::Lent => lend(&mut args, child),
        Memory::Copied => copy(&mut args, child),
    }?;
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so this is a new descriptor that nobody else owns.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

#[allow(clippy::cast_possible_truncation)] // a pid is an int
fn copy(args: &mut libc::clone_args, child: &Child<'_>) -> io::Result<i32> {
    // SAFETY: without CLONE_VM and with no stack given this is fork: the child has its own copy of
    // all memory. It never returns from `run`, which makes async-signal-safe calls only.
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone3, &raw mut *args, size_of::<libc::clone_args>());
        if pid == 0 {
            child.run();
        }
        pid
    };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid as i32) }
}

/// vfork(2), with what clone3 adds. The child must not return from the frame that it was made in, as
/// from a C function: it leaves in the same assembly.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation)] // kernel ABI
fn lend(args: &mut libc::clone_args, child: &Child<'_>) -> io::Result<i32> {
    let entry: unsafe extern "C" fn(*const Child<'static>) -> ! = enter;
    args.flags |= (libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_VFORK) as u64;
    let result: i64;
    // SAFETY:
    // - The parent sees one system call: it is suspended (CLONE_VFORK) until the child has called
    //   execve or has ended, and then goes on at label 2 with its own registers.
    // - The child starts with a copy of these registers, so r12 and r13 are what they were, and
    //   on this stack, since no other is given. It writes only below the stack pointer, and below
    //   the red zone under it (System V ABI: 128 bytes), where the suspended parent has nothing,
    //   and it never goes past the call.
    // - `args` and `child` live on in the parent's frames meanwhile. Other threads run on in the
    //   same memory; `enter` takes no lock, allocates nothing and writes nothing that they use:
    //   errno is that of this thread, which waits.
    // - No handler of ours can run in the child: its signals are blocked until it has reset its
    //   dispositions, which are its own (no CLONE_SIGHAND), like its directory and its umask (no
    //   CLONE_FS). The table of descriptors is shared (CLONE_FILES) until `enter` takes a copy, the
    //   first thing that it does with it, and nobody else touches the few that it reads before.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "sub rsp, 256",
            "and rsp, -16",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") std::ptr::from_mut(args),
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") std::ptr::from_ref(child),
            in("r13") entry,
            clobber_abi("sysv64"),
        );
    }
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result as i32) }
}

/// SAFETY of calling it: as of [`Child::run`], with a `child` that outlives the call.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
unsafe extern "C" fn enter(child: *const Child<'static>) -> ! {
    // SAFETY: `lend` passes a valid reference, and its frame waits until this process is gone from
    // its memory.
    unsafe { (*child).run() }
}

/// Not written for this architecture: [`Memory::of`] never asks for it.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
use copy as lend;
