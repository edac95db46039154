//! Where an instance can be in its life, and what runs then.

use serde::{Deserialize, Serialize};

use crate::{ident::Generation, process::Exit};

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No process, and none is wanted.
    Stopped,
    /// The driver is about to spawn.
    Spawning,
    /// It runs and has not been ready yet.
    Starting(Generation),
    /// Probes succeed.
    Ready(Generation),
    /// It has come up, and is not ready; probes fail.
    Unready(Generation),
    /// It runs and gives no sign of life; a successor is waited for.
    Hung(Generation),
    /// It was asked to end.
    Terminating(Generation, Then),
    /// Its main process is gone or past its deadline; the rest of the tree is being ended.
    Ending(Generation, Then),
    /// It died; the next start waits.
    Backoff,
    /// It was given up. Something of it may be left.
    Failed,
    /// It ended by itself, and nothing of it is left; its restart policy leaves it at that.
    Finished,
    /// It was given up, had finished, or waited; whatever is left of it is being ended.
    Clearing(Then),
}

/// What follows once a tree has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing: it was meant to stop.
    Stop,
    /// A start on purpose.
    Start,
    /// What the restart policy says: it died.
    Recover,
    /// Nothing: it has done what it is for.
    Finish,
}

/// How a main process ended, as far as a restart policy is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As a program that has done what it is for.
    Clean,
    /// Any other.
    Failure,
}

impl From<Exit> for Manner {
    /// What systemd takes for clean (`SuccessExitStatus=`, systemd.service(5)): status 0, and the
    /// signals by which programs are usually asked to end.
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(0)
            | Exit::Signal(libc::SIGHUP | libc::SIGINT | libc::SIGPIPE | libc::SIGTERM) => {
                Self::Clean
            }
            Exit::Code(_) | Exit::Signal(_) | Exit::Unknown => Self::Failure,
        }
    }
}

/// Why an instance that is meant to run is left as it is by the next daemon of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// It has finished.
    Finished,
    /// It was given up.
    Failed,
    /// It is stopped until its host or its daemon begins afresh.
    Stopped,
}

/// The generation that runs, in states where one does.
#[must_use]
pub const fn running(state: State) -> Option<Generation> {
    match state {
        State::Starting(g)
        | State::Ready(g)
        | State::Unready(g)
        | State::Hung(g)
        | State::Terminating(g, _)
        | State::Ending(g, _) => Some(g),
        State::Stopped
        | State::Spawning
        | State::Backoff
        | State::Failed
        | State::Finished
        | State::Clearing(_) => None,
    }
}

/// States in which a tree of an earlier daemon may be found.
#[must_use]
pub const fn runs_nothing(state: State) -> bool {
    matches!(state, State::Stopped | State::Failed | State::Finished)
}

/// A tree was taken over: only then does one run that was not spawned.
#[must_use]
pub const fn is_adoption(before: State, now: State) -> bool {
    runs_nothing(before) && running(now).is_some()
}

/// What an instance can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question {
    /// Has it come up?
    Startup,
    /// May it have traffic?
    Ready,
    /// Does it give any sign of life?
    Live,
}

impl Question {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Ready, Self::Live];

    /// Its name in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Ready => "ready",
            Self::Live => "live",
        }
    }
}

/// The generation that probes are about, in states where they matter.
#[must_use]
pub const fn probed(state: State) -> Option<Generation> {
    match state {
        State::Starting(g) | State::Ready(g) | State::Unready(g) | State::Hung(g) => Some(g),
        _ => None,
    }
}

/// The generation that runs and is neither on its way out nor about to be replaced.
#[must_use]
pub const fn in_good_order(state: State) -> Option<Generation> {
    match state {
        State::Starting(g) | State::Ready(g) | State::Unready(g) => Some(g),
        _ => None,
    }
}
