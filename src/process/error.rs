//! What can go wrong with a process, said so that an operator can act on it.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{PortHolder, confine::Refusal};
use crate::{ident::InstanceId, sys::proc};

/// Why a process could not be started, watched or ended, or its output not be captured.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The argument vector is empty.
    #[error("there is no program to start; give at least one argument")]
    NoProgram,
    /// A string that the kernel would end early.
    #[error("{0} holds a NUL byte, which no program can be given; remove it")]
    Nul(&'static str),
    /// Not in any directory of `PATH`.
    #[error(
        "cannot find `{program}` in PATH ({path}); give its whole path, or set PATH in the \
         service's environment"
    )]
    NotInPath {
        /// What was looked for.
        program: String,
        /// Where.
        path: String,
    },
    /// No such user.
    #[error("there is no user `{0}` on this host; create it, or correct `user`")]
    NoUser(String),
    /// No such group.
    #[error("there is no group `{0}` on this host; create it, or correct `group`")]
    NoGroup(String),
    /// The user database failed.
    #[error("cannot look up {what}: {reason}; check the host's user database (nsswitch.conf)")]
    Lookup {
        /// User or group.
        what: String,
        /// The system's reason.
        reason: nix::errno::Errno,
    },
    /// clone3(2) or what it needs failed.
    #[error("cannot create a process for {instance}: {}; {}", reason(.source), limit_hint(.source))]
    Fork {
        /// Whose.
        instance: InstanceId,
        /// The system's reason.
        source: io::Error,
    },
    /// It was killed before its first instruction.
    #[error(
        "a new process of {instance} was killed at birth; look into the kernel's log (`dmesg`)"
    )]
    NeverRan {
        /// Whose.
        instance: InstanceId,
    },
    /// execve(2) failed.
    #[error("cannot execute {}: {}; {}", .program.display(), reason(.source), exec_hint(.source))]
    Exec {
        /// What was executed.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// chdir(2) failed in the child.
    #[error(
        "cannot enter the directory {}: {}; it must exist and the service's user must be allowed \
         into it", .directory.display(), reason(.source)
    )]
    Directory {
        /// Which.
        directory: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The child could not become its user.
    #[error(
        "cannot become {who}: {}; only a daemon that runs as root can start a service as another \
         user", reason(.source)
    )]
    Become {
        /// User and group.
        who: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The kernel does not give what the configuration asks for.
    #[error(
        "the kernel refuses what {instance} asks for: {}; correct that, or set `on_refusal: warn` \
         to start it without", list(.refusals)
    )]
    Refused {
        /// Whose.
        instance: InstanceId,
        /// At least one.
        refusals: Vec<Refusal>,
    },
    /// It is not in the cgroup that limits it.
    #[error(
        "the new process of {instance} could not be put into its cgroup, so that its `limits` \
         would not hold; look into the kernel's log (`dmesg`)"
    )]
    Outside {
        /// Whose.
        instance: InstanceId,
    },
    /// Anything else failed in the child.
    #[error("cannot prepare the new process of {instance} ({stage}): {}; try again", reason(.source))]
    Child {
        /// Whose.
        instance: InstanceId,
        /// What it was doing.
        stage: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// execve(2) neither succeeded nor failed in time.
    #[error(
        "{} did not begin within {} s and was killed; check the file system it is on",
        .program.display(), .after.as_secs()
    )]
    Hung {
        /// What was executed.
        program: PathBuf,
        /// How long we waited.
        after: Duration,
    },
    /// A held socket could not be made.
    #[error("cannot listen on {address} for {instance}: {}; {}", reason(.source), listen_hint(.holder.as_ref()))]
    Listen {
        /// Whose.
        instance: InstanceId,
        /// Where.
        address: SocketAddr,
        /// Who listens there.
        holder: Option<PortHolder>,
        /// The system's reason.
        source: io::Error,
    },
    /// `P3`.
    #[error(
        "{instance} still has processes of an earlier start: {left}; stop it before it is started"
    )]
    Occupied {
        /// Whose.
        instance: InstanceId,
        /// The processes.
        left: Left,
    },
    /// `P2` was not reached in time.
    #[error(
        "{instance} is not ended after {:.1} s: {left} still there; look at what it waits for \
         (/proc/PID/wchan, /proc/PID/stack)", .after.as_secs_f64()
    )]
    NotEnded {
        /// Whose.
        instance: InstanceId,
        /// The processes.
        left: Left,
        /// How long we waited.
        after: Duration,
    },
    /// A file or directory of ours failed.
    #[error("cannot {action} {}: {}; check its owner, its mode and the space left", .path.display(), reason(.source))]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The kernel refused something that it should not.
    #[error("cannot {action}: {}; see whether /proc is mounted and the daemon's limits are high enough", reason(.source))]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl ProcessError {
    /// For `map_err`.
    pub(crate) fn kernel(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel { action, source }
    }

    /// For `map_err`.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// Processes that are left, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left(Vec<(i32, String)>);

impl Left {
    pub(super) fn of(pids: &[i32]) -> Self {
        Self(pids.iter().map(|pid| (*pid, proc::command(*pid))).collect())
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 4;
        if self.0.is_empty() {
            return f.write_str("a process that is ending");
        }
        for (i, (pid, command)) in self.0.iter().take(SHOWN).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}pid {pid} ({command})")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The system's words without std's "(os error N)".
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
}

fn limit_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            "the limit of processes is reached: end some, or raise TasksMax= of the unit, \
             `ulimit -u`, or kernel.pid_max"
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "the limit of open files is reached: raise LimitNOFILE= of the unit"
        }
        Some(libc::ENOMEM) => "the host is out of memory",
        Some(libc::ENOSYS | libc::EPERM) => {
            "clone3 is refused here: aibk needs Linux 5.4 and a seccomp filter that allows it"
        }
        _ => "try again",
    }
}

fn listen_hint(holder: Option<&PortHolder>) -> String {
    match holder {
        Some(holder) => {
            format!("port is held by {holder}; stop that, or give the service another slot")
        }
        None => "check `host`, and whether the daemon may use this port".to_owned(),
    }
}

fn exec_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            "the file is missing, or it is a script whose interpreter (its first line) is missing"
        }
        Some(libc::EACCES) => {
            "it must be an executable file that the service's user may reach and execute"
        }
        Some(libc::ENOEXEC) => "it is no program of this machine, and has no `#!` line",
        Some(libc::E2BIG) => "its arguments and environment are too long together",
        Some(libc::ETXTBSY) => "the file is open for writing",
        Some(libc::EAGAIN) => {
            "its user has as many processes as `limits.nproc` allows: end some, or raise it"
        }
        _ => "run it by hand as the service's user to see more",
    }
}
