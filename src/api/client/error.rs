//! Why a request did not succeed.

use std::{
    error::Error,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::StatusCode;
use nix::unistd::{Gid, Group};

use crate::api::types::Problem;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket.
    #[error(
        "{} is not there: is aibkd running? try `systemctl start aibkd`, or name another socket",
        .0.display()
    )]
    NotThere(PathBuf),
    /// The socket is there, but nobody listens.
    #[error(
        "nobody listens on {}: aibkd has ended without removing it; try `systemctl start aibkd`",
        .0.display()
    )]
    NobodyListens(PathBuf),
    /// The socket is not open to this user.
    #[error("you may not connect to {}: {remedy}", socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// What would help.
        remedy: String,
    },
    /// Anything else on the way to the daemon.
    #[error("cannot connect to {}: {source}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody listens, and accepts nobody.
    #[error(
        "aibkd did not accept a connection to {} within {after:?}; it hangs or has too many \
         clients: look into its log (`journalctl -u aibkd`)", socket.display()
    )]
    NotAccepted {
        /// The socket.
        socket: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The daemon is there but too slow.
    #[error("aibkd did not {doing} within {after:?}; look into its log (`journalctl -u aibkd`)")]
    TooSlow {
        /// What it did not do.
        doing: &'static str,
        /// In which time.
        after: Duration,
    },
    /// The connection ended before the answer.
    #[error("the connection to aibkd broke ({0}); it may have been restarted: try again")]
    Broken(String),
    /// The daemon said no.
    #[error("{}", .problem.message)]
    Problem {
        /// With this status.
        status: StatusCode,
        /// And these words.
        problem: Problem,
    },
    /// What answers is not an aibkd, or of another version.
    #[error(
        "the answer (status {status}) is not understood: {detail}; are aibkctl and aibkd of the \
         same version?"
    )]
    NotUnderstood {
        /// Its status.
        status: StatusCode,
        /// What is wrong with it.
        detail: String,
    },
    /// Not a path with a query.
    #[error("`{0}` cannot be asked for")]
    Target(String),
    /// What was to be sent cannot be read.
    #[error("what is sent cannot be read: {0}; nothing is begun")]
    Source(String),
    /// A body that is not JSON.
    #[error("the request cannot be written as JSON: {0}")]
    Unsendable(serde_json::Error),
}

impl ClientError {
    /// The daemon was not reached, so nothing was asked of it.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::NotThere(_)
                | Self::NobodyListens(_)
                | Self::Denied { .. }
                | Self::Connect { .. }
                | Self::NotAccepted { .. }
        )
    }

    pub(super) fn connecting(socket: &Path, source: io::Error) -> Self {
        let socket = socket.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotThere(socket),
            io::ErrorKind::ConnectionRefused => Self::NobodyListens(socket),
            io::ErrorKind::PermissionDenied => {
                let remedy = remedy(&socket);
                Self::Denied { socket, remedy }
            }
            _ => Self::Connect { socket, source },
        }
    }
}

impl From<hyper::Error> for ClientError {
    fn from(e: hyper::Error) -> Self {
        // Of all that we give hyper, only a body can fail.
        if let Some(cause) = e.source().filter(|_| e.is_user()) {
            return Self::Source(cause.to_string());
        }
        // hyper names the cause apart from the consequence.
        Self::Broken(match e.source() {
            Some(cause) => format!("{e}: {cause}"),
            None => e.to_string(),
        })
    }
}

/// The group that may connect is that of the socket, or, where the socket itself cannot be seen,
/// that of the first directory that can.
fn remedy(socket: &Path) -> String {
    let visible = socket.ancestors().find_map(|path| path.metadata().ok());
    let group = visible
        .map(|file| file.gid())
        .filter(|gid| *gid != 0)
        .and_then(|gid| Group::from_gid(Gid::from_raw(gid)).ok().flatten());
    match group {
        Some(group) => format!(
            "you are not in the group `{0}`; use sudo, or `sudo usermod -aG {0} USER` and log in \
             again",
            group.name
        ),
        None => "only root and the daemon's own user may; use sudo".to_owned(),
    }
}
