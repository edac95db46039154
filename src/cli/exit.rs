//! What the shell is told: one enum, mapped from every way a command can end.

use std::{fmt::Write as _, process::ExitCode};

use crate::api::{
    client::ClientError,
    types::{ProblemCode, RolloutState},
};

/// How a command ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is so.
    Done = 0,
    /// It failed, and everything is as before.
    Failed = 1,
    /// The command makes no sense.
    Usage = 2,
    /// No daemon answers.
    NotReachable = 3,
    /// The daemon answered no.
    Refused = 4,
    /// It failed and could not be undone.
    Stuck = 5,
    /// Waiting ended; the operation goes on.
    StillGoing = 6,
}

impl Exit {
    /// Every exit code, in order.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NotReachable,
        Self::Refused,
        Self::Stuck,
        Self::StillGoing,
    ];

    /// The number the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, for the help and the manual page.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed, and everything is as before",
            Self::Usage => "the command line makes no sense",
            Self::NotReachable => "the daemon is not reachable",
            Self::Refused => "refused: busy, forbidden, or not possible in this state",
            Self::Stuck => "failed, and could not be undone",
            Self::StillGoing => "stopped waiting; the operation goes on",
        }
    }

    /// How a command that followed a rollout ends with it.
    #[must_use]
    pub const fn of_rollout(state: RolloutState) -> Self {
        match state {
            RolloutState::Done => Self::Done,
            RolloutState::Undone | RolloutState::Skipped => Self::Failed,
            RolloutState::Stuck => Self::Stuck,
            RolloutState::Waiting | RolloutState::Running | RolloutState::Undoing => {
                Self::StillGoing
            }
        }
    }

    /// How `cancel` ends: undone is what was asked for, done is too late.
    #[must_use]
    pub const fn of_cancelled(state: RolloutState) -> Self {
        match state {
            RolloutState::Undone | RolloutState::Skipped => Self::Done,
            RolloutState::Done => Self::Refused,
            RolloutState::Stuck => Self::Stuck,
            RolloutState::Waiting | RolloutState::Running | RolloutState::Undoing => {
                Self::StillGoing
            }
        }
    }

    /// How a request that the client could not get answered ends.
    #[must_use]
    pub fn of_client(error: &ClientError) -> Self {
        match error {
            ClientError::Problem { problem, .. } => Self::of_problem(problem.code),
            ClientError::Target(_) | ClientError::Unsendable(_) => Self::Usage,
            _ => Self::NotReachable,
        }
    }

    /// How a request that the daemon turned down ends.
    #[must_use]
    pub const fn of_problem(code: ProblemCode) -> Self {
        match code {
            ProblemCode::BadRequest => Self::Usage,
            ProblemCode::Failed => Self::Failed,
            ProblemCode::Forbidden
            | ProblemCode::NotFound
            | ProblemCode::Busy
            | ProblemCode::Refused
            | ProblemCode::TooLarge
            | ProblemCode::TooSlow => Self::Refused,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table at the end of every `--help`.
pub(super) fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        let _ = writeln!(text, "  {}  {}", exit.code(), exit.meaning());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Problem;

    #[test]
    fn codes_are_the_documented_ones() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_rollout_decides_the_code_by_its_state() {
        let of = |state| Exit::of_rollout(state).code();
        assert_eq!(of(RolloutState::Done), 0);
        assert_eq!(of(RolloutState::Undone), 1);
        assert_eq!(of(RolloutState::Stuck), 5);
        assert_eq!(of(RolloutState::Running), 6);
        assert_eq!(of(RolloutState::Undoing), 6);
    }

    #[test]
    fn a_cancel_succeeds_when_the_rollout_is_undone() {
        let of = |state| Exit::of_cancelled(state).code();
        assert_eq!(of(RolloutState::Undone), 0);
        assert_eq!(of(RolloutState::Done), 4);
        assert_eq!(of(RolloutState::Stuck), 5);
        assert_eq!(of(RolloutState::Undoing), 6);
    }

    #[test]
    fn a_problem_decides_the_code_by_its_kind() {
        let of = |code| {
            let problem = Problem { code, message: String::new(), hint: None };
            let status = hyper::StatusCode::CONFLICT;
            Exit::of_client(&ClientError::Problem { status, problem }).code()
        };
        assert_eq!(of(ProblemCode::BadRequest), 2);
        assert_eq!(of(ProblemCode::Failed), 1);
        for code in [
            ProblemCode::Forbidden,
            ProblemCode::NotFound,
            ProblemCode::Busy,
            ProblemCode::Refused,
            ProblemCode::TooLarge,
            ProblemCode::TooSlow,
        ] {
            assert_eq!(of(code), 4, "{code:?}");
        }
    }
}
