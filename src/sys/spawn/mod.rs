//! clone3(2) and what the child does until execve(2).
//!
//! Between the two it makes only system calls; everything they need is prepared in [`Plan`] before.

mod child;
mod clone;
mod signals;
#[cfg(test)]
mod tests;

use std::{
    ffi::{CString, c_char, c_int},
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    ptr,
};

use rustix::pipe::PipeFlags;

use self::{child::Child, signals::BlockedSignals};

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
    let mut result = clone::child(&child, cgroup);
    if in_cgroup && result.as_ref().is_err_and(|e| !is_resource_limit(e)) {
        in_cgroup = false;
        result = clone::child(&child, None);
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
