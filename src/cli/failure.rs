//! Why a command ended early, told to people and to programs.

use std::{io, path::Path, time::Duration};

use serde::Serialize;

use super::{exit::Exit, time};
use crate::api::client::ClientError;

/// Why a command could not do what it is for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The daemon did not answer, or answered no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The daemon went away for good while it was waited for.
    #[error("lost aibkd while waiting for rollout {id}")]
    Lost {
        /// The rollout that was followed.
        id: u64,
        /// How long it was tried to find the daemon again.
        tried: Duration,
        /// Why the last try failed.
        why: String,
    },
    /// Standard output does not take more.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// Something on this side: a file that cannot be read or written.
    #[error("{message}")]
    Here {
        /// What failed, on what.
        message: String,
        /// What to do next.
        hint: String,
    },
}

/// A [`Failure`] as `--json` prints it; `code` is a problem's code, `not_reachable`, `broken` or
/// `local`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    code: String,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure on this side.
    pub(super) fn here(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Here { message: message.into(), hint: hint.into() }
    }

    /// The reader of our output went away (`| head`): no failure of ours.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code it means.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => Exit::of_client(error),
            Self::Lost { .. } => Exit::NotReachable,
            Self::Output(_) | Self::Here { .. } => Exit::Failed,
        }
    }

    /// What to tell, of the daemon at `socket`.
    pub(super) fn report(&self, socket: &Path) -> Report {
        let report = |code: &str, message: String, hint: &str| Report {
            code: code.to_owned(),
            message,
            hint: Some(hint.to_owned()),
        };
        match self {
            Self::Client(ClientError::Problem { problem, .. }) => Report {
                code: serde_json::to_value(problem.code)
                    .ok()
                    .and_then(|code| code.as_str().map(str::to_owned))
                    .unwrap_or_default(),
                message: problem.message.clone(),
                hint: problem.hint.clone(),
            },
            // Its own words say what to do next.
            Self::Client(error) => Report {
                code: if error.is_unreachable() { "not_reachable" } else { "broken" }.to_owned(),
                message: error.to_string(),
                hint: None,
            },
            Self::Lost { id, tried, why } => report(
                "not_reachable",
                format!(
                    "aibkd at {} has not answered for {} while rollout {id} was under way: {why}",
                    socket.display(),
                    time::took(tried.as_secs_f64()),
                ),
                &format!(
                    "the rollout is kept: start the daemon (`systemctl start aibkd`), \
                     then join it with `aibkctl wait {id}`"
                ),
            ),
            Self::Output(error) => report(
                "local",
                format!("cannot write to standard output: {error}"),
                "see where the output is sent to",
            ),
            Self::Here { message, hint } => report("local", message.clone(), hint),
        }
    }
}

impl Report {
    /// Two lines for people: what failed, what to do next.
    pub(super) fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("aibkctl: {}\n  next: {hint}\n", self.message),
            None => format!("aibkctl: {}\n", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Problem, ProblemCode};

    #[test]
    fn a_problem_is_told_with_its_hint() {
        let failure = Failure::Client(ClientError::Problem {
            status: hyper::StatusCode::CONFLICT,
            problem: Problem {
                code: ProblemCode::Busy,
                message: "api is held by rollout 7 (swap, by uid 0, at step drain)".into(),
                hint: Some("join it with `aibkctl wait 7`".into()),
            },
        });
        let report = failure.report(Path::new("/run/x.sock"));
        assert_eq!(
            report.text(),
            "aibkctl: api is held by rollout 7 (swap, by uid 0, at step drain)\n  \
             next: join it with `aibkctl wait 7`\n"
        );
        assert_eq!(report.code, "busy");
        assert_eq!(failure.exit(), Exit::Refused);
    }

    #[test]
    fn only_a_closed_pipe_is_quiet() {
        assert!(Failure::Output(io::ErrorKind::BrokenPipe.into()).is_closed_pipe());
        assert!(!Failure::Output(io::ErrorKind::StorageFull.into()).is_closed_pipe());
    }
}
