//! clone3(2) and what the child does until execve(2).
//!
//! Between the two it makes only system calls; everything they need is prepared in [`Plan`] before.

mod bounds;
mod child;
mod clone;
mod mounts;
mod seats;
mod signals;
#[cfg(test)]
mod tests;

use std::{
    ffi::{CString, c_char, c_int},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    ptr,
};

use rustix::pipe::PipeFlags;

pub use self::{bounds::Bounds, mounts::Mounts, seats::reserve};
use self::{
    child::Child,
    clone::Memory,
    seats::{Given, Seated},
    signals::BlockedSignals,
};

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
    /// A listening socket, which it finds under the number [`LISTENER`].
    pub listener: Option<OwnedFd>,
    /// Who it becomes; `None`: it stays who the daemon is.
    pub credentials: Option<Credentials>,
    /// What it gives up.
    pub bounds: Bounds,
}

/// Where a child finds the listening socket that it is given, the first number behind its standard
/// descriptors: `SD_LISTEN_FDS_START` of `sd_listen_fds(3)`.
pub const LISTENER: RawFd = 3;

/// An environment block whose `Debug` shows no value.
pub struct Environment(pub Vec<CString>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}

/// What the child does before its execve, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// setsid(2), signal dispositions, umask.
    Session = 1,
    /// dup3(2) of its standard descriptors and its listener.
    Stdio,
    /// setpriority(2).
    Nice,
    /// prlimit(2), one for each of [`Bounds::rlimits`].
    Limit,
    /// unshare(2) of the mount namespace.
    Namespace,
    /// One of [`Mounts::writable`].
    Writable,
    /// One of [`Mounts::read_only`].
    ReadOnly,
    /// One of [`Mounts::empty`].
    PrivateTmp,
    /// `PR_CAPBSET_DROP`.
    Bounding,
    /// setgroups(2), setresgid(2), setresuid(2).
    User,
    /// capset(2), `PR_CAP_AMBIENT`.
    Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`.
    NewPrivileges,
    /// `landlock_restrict_self(2)`.
    Landlock,
    /// chdir(2).
    Directory,
    /// execve(2).
    Exec,
}

impl Stage {
    const ALL: [Self; 15] = [
        Self::Session,
        Self::Stdio,
        Self::Nice,
        Self::Limit,
        Self::Namespace,
        Self::Writable,
        Self::ReadOnly,
        Self::PrivateTmp,
        Self::Bounding,
        Self::User,
        Self::Capabilities,
        Self::NewPrivileges,
        Self::Landlock,
        Self::Directory,
        Self::Exec,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage as u8 == byte)
    }
}

/// A child that exists; whether its execve succeeded is read from `verdict`.
#[derive(Debug)]
pub struct Started {
    /// Its process id.
    pub pid: i32,
    /// Its pidfd, close-on-exec.
    pub pidfd: OwnedFd,
    /// A pipe that ends when execve succeeded or the child is gone: see [`verdict`].
    pub verdict: OwnedFd,
    /// It was born in the cgroup that was asked for.
    pub in_cgroup: bool,
}

/// The first byte of a child that runs.
const ALIVE: u8 = 0;
/// First byte of a message: this was refused, and the child goes on without.
const REFUSED: u8 = 1;
/// First byte of a message: this failed, and the child is gone.
const FAILED: u8 = 2;

/// Something that the child could not do.
#[derive(Debug)]
pub struct Trouble {
    /// What it was doing.
    pub stage: Stage,
    /// Which one, where a stage has several.
    pub item: usize,
    /// The system's reason.
    pub source: io::Error,
}

/// What became of a child.
#[derive(Debug)]
pub enum Verdict {
    /// execve succeeded; these things were refused, as [`Bounds::on_refusal`] allows.
    Runs(Vec<Trouble>),
    /// It was killed before its first instruction.
    NeverRan,
    /// It is gone.
    Failed(Trouble),
}

/// Reads the whole of what the verdict pipe said.
#[must_use]
pub fn verdict(message: &[u8]) -> Verdict {
    let Some(messages) = message.strip_prefix(&[ALIVE]) else { return Verdict::NeverRan };
    let mut refused = Vec::new();
    for message in messages.as_chunks::<7>().0 {
        let [outcome, stage, item, errno @ ..] = *message;
        let Some(stage) = Stage::from_byte(stage) else { continue };
        let source = io::Error::from_raw_os_error(c_int::from_ne_bytes(errno));
        let trouble = Trouble { stage, item: item.into(), source };
        if outcome == FAILED {
            return Verdict::Failed(trouble);
        }
        refused.push(trouble);
    }
    Verdict::Runs(refused)
}

/// Starts `plan`, inside `cgroup` if the kernel lets us (Linux 5.7), else outside of it.
///
/// # Errors
/// clone3(2)'s and pipe2(2)'s: EAGAIN (process limit), ENOMEM, EMFILE, ENOSYS.
pub fn start(plan: &Plan, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Started> {
    let (verdict, report) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // Whatever the daemon has under the listener's number is replaced in the child.
    let report = rustix::io::fcntl_dupfd_cloexec(report, LISTENER + 1)?;
    let memory = Memory::of(plan);
    let (_seated, given) = match memory {
        Memory::Lent => {
            Seated::seat(plan, report.as_fd()).map(|(seated, given)| (Some(seated), given))?
        }
        Memory::Copied => (None, Given::as_they_are(plan, report.as_fd())),
    };
    let argv = pointers(&plan.argv);
    let env = pointers(&plan.env.0);
    let child = Child { plan, argv: &argv, env: &env, given };
    let mask = BlockedSignals::block();
    let mut in_cgroup = cgroup.is_some();
    let mut result = clone::child(&child, memory, cgroup);
    if in_cgroup && result.as_ref().is_err_and(|e| !is_resource_limit(e)) {
        in_cgroup = false;
        result = clone::child(&child, memory, None);
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
