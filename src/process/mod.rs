//! One process tree: spawned, watched, ended, adopted; its output captured.

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::ident::{Generation, InstanceId, Port};

/// Who a process is (`P1`). A pid alone is reused; with its start time and boot it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub start_ticks: u64,
}

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

/// Everything a start needs. Nothing is inherited but what is named here.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// placeholder until the room is built
    #[error("{0}")]
    Other(String),
}

/// Who holds a port, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortHolder {
    /// Process id, if it may be seen.
    pub pid: Option<i32>,
    /// Its command line, shortened.
    pub command: String,
}

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One captured line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds since the epoch; strictly growing within one instance.
    pub at: i64,
    /// Which start wrote it.
    pub generation: Generation,
    /// Where to.
    pub stream: Stream,
    /// The text, without its end of line; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Starts and adopts process trees. One per daemon.
#[derive(Debug, Clone)]
pub struct Launcher {}

impl Launcher {
    /// Finds out what this host can do (cgroups).
    ///
    /// # Errors
    /// When the host cannot be read at all.
    pub fn new() -> Result<Arc<Self>, ProcessError> {
        todo!()
    }

    /// Starts `spec` as the tree of `name`, its output going to `capture`.
    ///
    /// # Errors
    /// Names the stage that failed (fork, user, directory, exec) and the system's reason.
    pub async fn spawn(
        &self,
        _name: &InstanceId,
        _spec: &SpawnSpec,
        _capture: &Capture,
    ) -> Result<Tree, ProcessError> {
        todo!()
    }

    /// Takes over the tree of an earlier daemon; `None` when it is gone or is somebody else.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn adopt(&self, _name: &InstanceId, _who: &Identity) -> Result<Option<Tree>, ProcessError> {
        todo!()
    }

    /// Ends whatever is left in the tree of `name` although its main process is unknown or gone.
    ///
    /// # Errors
    /// When something could not be ended in time.
    pub async fn sweep(&self, _name: &InstanceId, _deadline: Duration) -> Result<(), ProcessError> {
        todo!()
    }

    /// Who listens on `port`, on any address; `None` when nobody does.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn port_holder(&self, _port: Port) -> Result<Option<PortHolder>, ProcessError> {
        todo!()
    }
}

/// A running process tree.
#[derive(Debug)]
pub struct Tree {}

impl Tree {
    /// Who its main process is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        todo!()
    }

    /// Waits until the main process has ended.
    pub async fn exited(&self) -> Exit {
        todo!()
    }

    /// Asks the main process to end (SIGTERM).
    ///
    /// # Errors
    /// When the kernel refuses; a process that is gone is no error.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        todo!()
    }

    /// Ends every process of the tree and waits until none is left (`P2`).
    ///
    /// # Errors
    /// Names what is still there at `deadline`.
    pub async fn end(&self, _deadline: Duration) -> Result<(), ProcessError> {
        todo!()
    }

    /// Every process of the tree.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        todo!()
    }
}

/// The output of one instance, over all its generations.
#[derive(Debug, Clone)]
pub struct Capture {}

impl Capture {
    /// Opens (or finds again) the FIFOs of `name` and begins to read them.
    ///
    /// # Errors
    /// When a FIFO or the log file cannot be opened.
    pub fn open(
        _name: &InstanceId,
        _runtime_dir: &std::path::Path,
        _log_dir: &std::path::Path,
    ) -> Result<Self, ProcessError> {
        todo!()
    }

    /// Lines from now on belong to `generation`.
    pub fn begin(&self, _generation: Generation) {
        todo!()
    }

    /// Reads all that the last generation left in the FIFOs.
    pub async fn settle(&self) {
        todo!()
    }

    /// The last `n` lines, oldest first.
    pub async fn tail(&self, _n: usize) -> Vec<Line> {
        todo!()
    }

    /// The last `n` lines, and every line after them, none twice and none left out
    /// (a reader that is too slow sees a line that says how many it missed).
    pub async fn follow(&self, _n: usize) -> (Vec<Line>, tokio::sync::mpsc::Receiver<Line>) {
        todo!()
    }
}
