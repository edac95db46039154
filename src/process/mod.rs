//! One process tree: spawned, watched, ended, adopted; its output captured.

mod birth;
mod callers;
mod capture;
mod confine;
mod errand;
mod error;
mod gate;
mod identity;
mod launcher;
mod line;
mod program;
mod reading;
mod reaper;
mod relics;
mod relimit;
mod shelf;
mod tree;
mod user;
mod watcher;

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests;

use std::{ffi::OsString, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use callers::{Callers, Calls};
pub use capture::{Also, Capture, History, Keeping, Packing, Start, Wanted};
pub use confine::{Confined, Refusal};
pub use errand::{Errand, Files, Hear, Ran};
pub use error::ProcessError;
pub use gate::{Door, Gate, Listener, StandIn};
pub use identity::Identity;
pub use launcher::{Launcher, SPAWN_WITHIN};
pub use line::{Line, Stream};
pub use reading::{Priority, Reading};
pub use shelf::{Keeper, Shelf};
pub use tree::Tree;

use crate::{
    ident::Port,
    sys::{confine::Confinement, pidfd::Ended, sockets, spawn},
};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody saw it: it was not our child.
    Unknown,
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Code(code) => Self::Code(code),
            Ended::Signal(signal) => Self::Signal(signal),
            Ended::Unknown => Self::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by signal {number} ({signal})"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

impl Exit {
    /// What happened, as the rest of a sentence: `ended with exit status 3`.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Code(_) | Self::Unknown => format!("ended with {self}"),
            Self::Signal(_) => format!("was {self}"),
        }
    }
}

/// The number under which a process finds its listening socket.
pub const LISTENER: i32 = spawn::LISTENER;

/// Everything a start needs. Nothing is inherited but what is named here.
#[derive(Clone, PartialEq, Eq)]
pub struct SpawnSpec {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub directory: PathBuf,
    /// Who runs it; `None`: the daemon's own user.
    pub user: Option<String>,
    /// Its group; `None`: the user's own.
    pub group: Option<String>,
    /// What it may use and do.
    pub confinement: Confinement,
    /// A listening socket, under the number [`LISTENER`].
    pub listener: Option<Listener>,
}

/// Names of variables only: their values are secrets.
impl fmt::Debug for SpawnSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnSpec")
            .field("argv", &self.argv)
            .field("env", &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("directory", &self.directory)
            .field("user", &self.user)
            .field("group", &self.group)
            .field("confinement", &self.confinement)
            .field("listener", &self.listener)
            .finish()
    }
}

/// Who holds a port, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortHolder {
    /// Process id, if it may be seen.
    pub pid: Option<i32>,
    /// Its command line, shortened.
    pub command: String,
}

impl From<sockets::Holder> for PortHolder {
    fn from(holder: sockets::Holder) -> Self {
        Self { pid: holder.pid, command: holder.command }
    }
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "pid {pid} ({})", self.command),
            None => f.write_str("a process that this user may not see"),
        }
    }
}

/// The number of established connections to `port` that a process of `tree` has.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn established_of(tree: &[i32], port: Port) -> Result<usize, ProcessError> {
    sockets::established_of(tree, port.get())
        .map_err(ProcessError::kernel("count the connections to a port"))
}

/// Whether a server could listen on `port`, on any address. Takes microseconds; `None` when it
/// cannot be tried (a privileged port).
#[must_use]
pub fn is_free(port: Port) -> Option<bool> {
    sockets::is_free(port.get())
}

/// Who listens on `port`, on any address; `None` when nobody does. Where somebody does, every process's
/// descriptors are read (some milliseconds).
///
/// # Errors
/// When the kernel cannot be asked.
pub fn port_holder(port: Port) -> Result<Option<PortHolder>, ProcessError> {
    let holder = sockets::listener(port.get());
    Ok(holder
        .map_err(ProcessError::kernel("find out who listens on a port"))?
        .map(PortHolder::from))
}

/// Whether a process of `tree` listens on `port`.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn listens(tree: &[i32], port: Port) -> Result<bool, ProcessError> {
    sockets::listens(tree, port.get()).map_err(ProcessError::kernel("see who listens on a port"))
}
