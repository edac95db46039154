//! What everybody else sees of an instance: one value, replaced at each change.

use std::{sync::Arc, time::Instant};

use crate::{
    config::Socket,
    ident::{Generation, InstanceId, RolloutId},
    instance::life::{Rest, State, Then},
    process::{Confined, Exit, Identity, Line},
    release::Release,
    sys::cgroup::limits::Size,
};

/// An instance as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Which one.
    pub id: InstanceId,
    /// Where it is in its life.
    pub phase: Phase,
    /// It is meant to run.
    pub wanted: bool,
    /// Why it is left as it is all the same.
    pub rest: Option<Rest>,
    /// Release in the slot.
    pub release: Option<Release>,
    /// The rollout that started it.
    pub rollout: Option<RolloutId>,
    /// Its last start.
    pub generation: Option<Generation>,
    /// Its main process, while there is one.
    pub identity: Option<Identity>,
    /// Restarts after deaths since it was last started on purpose.
    pub restarts: u32,
    /// When it got into its phase, as far as this daemon has seen.
    pub since: Instant,
    /// When its next start is due, where it waits for one.
    pub next_start: Option<Instant>,
    /// What the last probe said against it.
    pub complaint: Option<String>,
    /// How it ended last.
    pub death: Option<Arc<Death>>,
    /// How its main process ended when it was last told to.
    pub exit: Option<Exit>,
    /// What holds of its confinement, while it runs.
    pub confined: Confined,
    /// The process trees that it is made of, where it is more than one life.
    pub workers: Vec<View>,
    /// Whose its listening socket is.
    pub socket: Socket,
    /// What stands beside it in the same slot: about to take over from it, or finishing.
    pub beside: Option<Box<View>>,
}

/// States as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// No process.
    Stopped,
    /// Not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// It has come up, and is not ready.
    Unready,
    /// It gives no sign of life, and is about to be replaced.
    Hung,
    /// Waits to be started again.
    Backoff,
    /// On its way down because it was told to.
    Stopping,
    /// On its way down by itself; its restart policy says what follows.
    Ending,
    /// Given up.
    Failed,
    /// It ended by itself, and its restart policy leaves it at that.
    Finished,
}

/// How an instance ended, or why it could not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Which start.
    pub generation: Option<Generation>,
    /// The cause.
    pub cause: Cause,
    /// Its last words.
    pub last_lines: Vec<Line>,
}

/// Why an instance is not running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Its main process ended.
    Exited(Exit),
    /// It was not ready in time.
    NotReady {
        /// What the last probe said.
        last_probe: String,
    },
    /// It ended while there was no daemon to see it.
    Unseen,
    /// It gave no sign of life any more.
    Hung {
        /// What the last live probe said.
        last_probe: String,
    },
    /// It used more memory than its service may.
    Memory {
        /// Bytes that it was seen to use; `None`: the kernel killed it.
        used: Option<u64>,
        /// Bytes that it may use.
        limit: u64,
    },
    /// It could not be started, or what it left behind could not be ended. A sentence of its own.
    System(String),
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(exit) => f.write_str(&exit.told()),
            Self::NotReady { last_probe } => {
                write!(f, "was not ready by its start deadline (last probe: {last_probe})")
            }
            Self::Unseen => f.write_str("ended while there was no aibkd to see how"),
            Self::Hung { last_probe } => {
                write!(f, "hangs: it gives no sign of life (last live probe: {last_probe})")
            }
            Self::Memory { used: None, limit } => {
                write!(f, "was killed by the kernel at its memory limit of {}", Size(*limit))
            }
            Self::Memory { used: Some(used), limit } => {
                let mebibytes = used >> 20;
                let limit = Size(*limit);
                write!(f, "uses {mebibytes}MiB of memory, above its limit of {limit}")
            }
            Self::System(why) => f.write_str(why),
        }
    }
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cause.fmt(f)?;
        if !self.last_lines.is_empty() {
            f.write_str("\nits last lines:")?;
        }
        self.last_lines.iter().try_for_each(|line| write!(f, "\n  {}", line.text))
    }
}

impl Death {
    /// The whole sentence about `id`, with the last words.
    #[must_use]
    pub fn of(&self, id: &InstanceId) -> String {
        match self.cause {
            Cause::System(_) => format!("{id}: {self}"),
            Cause::Exited(_)
            | Cause::NotReady { .. }
            | Cause::Hung { .. }
            | Cause::Memory { .. }
            | Cause::Unseen => {
                format!("{id} {self}")
            }
        }
    }
}

impl From<State> for Phase {
    fn from(state: State) -> Self {
        match state {
            State::Stopped => Self::Stopped,
            State::Spawning | State::Starting(_) | State::Clearing(Then::Start) => Self::Starting,
            State::Ready(_) => Self::Ready,
            State::Unready(_) => Self::Unready,
            State::Hung(_) => Self::Hung,
            State::Backoff => Self::Backoff,
            State::Terminating(_, Then::Recover | Then::Finish)
            | State::Ending(_, Then::Recover | Then::Finish) => Self::Ending,
            State::Terminating(..) | State::Ending(..) | State::Clearing(_) => Self::Stopping,
            State::Failed => Self::Failed,
            State::Finished => Self::Finished,
        }
    }
}

impl Phase {
    /// There is, or soon will be again, a process.
    #[must_use]
    pub const fn is_up(self) -> bool {
        !matches!(self, Self::Stopped | Self::Failed | Self::Finished)
    }

    /// The word shown to people and written into events.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::Hung => "hung",
            Self::Backoff => "backoff",
            Self::Stopping | Self::Ending => "stopping",
            Self::Failed => "failed",
            Self::Finished => "finished",
        }
    }
}
