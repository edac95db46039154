//! clone3(2) and what the child does until execve(2).
//!
//! The child is a plain copy (no `CLONE_VM`): a target user can stop it with SIGSTOP before its
//! execve, and with `CLONE_VFORK` that would stop the daemon as well. Between clone and execve it
//! makes only async-signal-safe calls; everything they need is prepared in [`Plan`] before.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long},
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use rustix::pipe::PipeFlags;

/// File mode creation mask of every child: umask(2).
const UMASK: libc::mode_t = 0o022;

/// Who the child becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Everything the child needs, in the form the kernel takes it.
#[derive(Debug)]
pub struct Plan {
    /// The file to execute.
    pub program: CString,
    /// Its arguments; the first is its own name.
    pub argv: Vec<CString>,
    /// Its whole environment, `NAME=value` each. Holds secrets: never printed.
    pub env: Environment,
    /// Where it starts.
    pub directory: CString,
    /// Standard input, output and error.
    pub stdio: [OwnedFd; 3],
    /// Who it becomes; `None`: it stays who the daemon is.
    pub credentials: Option<Credentials>,
}

/// An environment block whose `Debug` shows no value.
pub struct Environment(pub Vec<CString>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}

/// What the child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// setsid(2), signal dispositions, umask.
    Session = 1,
    /// dup3(2) of its standard descriptors.
    Stdio,
    /// setgroups(2), setresgid(2), setresuid(2).
    User,
    /// chdir(2).
    Directory,
    /// execve(2).
    Exec,
}

impl Stage {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Session, Self::Stdio, Self::User, Self::Directory, Self::Exec]
            .into_iter()
            .find(|stage| *stage as u8 == byte)
    }
}

/// A child that exists; whether its execve succeeded is read from `verdict`.
#[derive(Debug)]
pub struct Started {
    /// Its process id.
    pub pid: i32,
    /// Its pidfd, close-on-exec.
    pub pidfd: OwnedFd,
    /// A pipe that ends after [`ALIVE`] when execve succeeded, and before it when the child never
    /// ran; else [`VERDICT_BYTES`] bytes follow.
    pub verdict: OwnedFd,
    /// It was born in the cgroup that was asked for.
    pub in_cgroup: bool,
}

/// The first byte of a child that runs.
pub const ALIVE: u8 = 0;

/// Length of a failure message on the verdict pipe: the stage and the errno.
pub const VERDICT_BYTES: usize = 5;

/// Reads a failure message; `None` when it is not a whole one.
#[must_use]
pub fn failure(message: &[u8]) -> Option<(Stage, io::Error)> {
    let (stage, errno) = message.strip_prefix(&[ALIVE])?.split_first()?;
    let errno = c_int::from_ne_bytes(errno.try_into().ok()?);
    Some((Stage::from_byte(*stage)?, io::Error::from_raw_os_error(errno)))
}

/// Starts `plan`, inside `cgroup` if the kernel lets us (Linux 5.7), else outside of it.
///
/// # Errors
/// clone3(2)'s and pipe2(2)'s: EAGAIN (process limit), ENOMEM, EMFILE, ENOSYS.
pub fn start(plan: &Plan, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Started> {
    let (verdict, report) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let argv = pointers(&plan.argv);
    let env = pointers(&plan.env.0);
    let child = Child { plan, argv: &argv, env: &env, report: report.as_raw_fd() };
    let mask = BlockedSignals::block();
    let mut in_cgroup = cgroup.is_some();
    let mut result = clone_child(&child, cgroup);
    if in_cgroup && result.as_ref().is_err_and(|e| !is_resource_limit(e)) {
        in_cgroup = false;
        result = clone_child(&child, None);
    }
    drop(mask);
    let (pid, pidfd) = result?;
    Ok(Started { pid, pidfd, verdict, in_cgroup })
}

/// Whether trying again without a cgroup would fail the same way.
fn is_resource_limit(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::ENOSYS)
    )
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Keeps every signal away from this thread, so that no handler of ours runs in the child.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn block() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut old = MaybeUninit::uninit();
        // SAFETY: sigfillset and pthread_sigmask initialise the sets they are given; neither can
        // fail with these arguments.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::sigemptyset(old.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
            Self(old.assume_init())
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled by pthread_sigmask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation)] // kernel ABI
fn clone_child(child: &Child<'_>, cgroup: Option<BorrowedFd<'_>>) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: c_int = -1;
    // SAFETY: all of clone_args' fields are integers, for which zero means "not asked for".
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        // libc has it as an i32, which it does not fit into.
        args.flags |= 0x2_0000_0000;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and with no stack given this is fork: the child has its own copy of
    // all memory. It never returns from `run`, which makes async-signal-safe calls only.
    let pid = unsafe {
        let pid: c_long =
            libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>());
        if pid == 0 {
            child.run();
        }
        pid
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so this is a new descriptor that nobody else owns.
    Ok((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// What the child works with; borrowed memory of the parent, which its copy has at the same place.
struct Child<'a> {
    plan: &'a Plan,
    argv: &'a [*const c_char],
    env: &'a [*const c_char],
    report: RawFd,
}

impl Child<'_> {
    /// SAFETY of calling it: only in a child made by clone3. No allocation, no lock, no panic.
    unsafe fn run(&self) -> ! {
        // SAFETY: write is async-signal-safe.
        unsafe { libc::write(self.report, [ALIVE].as_ptr().cast(), 1) };
        let failed = unsafe { self.stages() };
        // SAFETY: __errno_location is this thread's own; write and _exit are async-signal-safe.
        unsafe {
            let errno = (*libc::__errno_location()).to_ne_bytes();
            let message = [failed as u8, errno[0], errno[1], errno[2], errno[3]];
            libc::write(self.report, message.as_ptr().cast(), VERDICT_BYTES);
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
            reset_signals();
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
            if libc::chdir(c_path(&self.plan.directory)) < 0 {
                return Stage::Directory;
            }
            libc::execve(c_path(&self.plan.program), self.argv.as_ptr(), self.env.as_ptr());
            Stage::Exec
        }
    }

    /// Raw calls, because glibc's wrappers would tell every thread, and here there is only one.
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

fn c_path(path: &CStr) -> *const c_char {
    path.as_ptr()
}

/// Every disposition to its default (ignored signals would stay ignored over execve: Rust ignores
/// SIGPIPE), then an empty mask.
unsafe fn reset_signals() {
    // SAFETY: four zero words are the kernel's struct sigaction (handler, flags, restorer, mask of 8
    // bytes) with SIG_DFL; glibc's wrapper would refuse signals 32 and 33. All of these calls are
    // async-signal-safe.
    unsafe {
        let default = [0_u64; 4];
        for signal in 1..=64 {
            let none: *mut u64 = ptr::null_mut();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8);
        }
        let mut empty = MaybeUninit::uninit();
        libc::sigemptyset(empty.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, empty.as_ptr(), ptr::null_mut());
    }
}
