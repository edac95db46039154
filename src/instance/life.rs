//! The life of an instance, as a pure function: `next(life, event) -> (life, actions)`.
//!
//! ```text
//!            start                 probes pass              probes fail
//!  Stopped ────────▶ Spawning ──▶ Starting ──────▶ Ready ◀──────────────▶ Unready
//!     ▲                 ▲             │ died, deadline  │ died                │ died
//!     │ stop            │ at once     ▼                 ▼                     ▼
//!  Terminating ──▶ Ending ◀───────────┴─────────────────┴─────────────────────┘
//!                       │ dies again            too often
//!                       ├─────────▶ Backoff ───────────────▶ Failed
//!                       │ stop         │ stop                   │ stop, start
//!                       ▼              ▼                        ▼
//!                    Stopped ◀──── Clearing ◀───────────────────┘
//! ```
//!
//! Where its restart policy wants no more of it, `Ending` leads to `Finished` or `Failed` instead,
//! and both are left by the same ways.
//!
//! One that hangs is ended like one that died, unless a successor can be started first: then it is
//! `Hung` until it is stopped, or for as long as a successor may take, or until it gives a sign of
//! life again.
//!
//! Nothing is spawned before `Ending` was left, and `Ending` is left only by the observation that
//! the tree is empty and the port is free (`P2`, `P3`). A tree that could not be ended makes it
//! `Failed`, so whoever leaves `Failed` looks again, in `Clearing`.

mod judge;
mod order;

use std::time::Duration;

use crate::{
    config::{Ready, Restart, RestartPolicy, Stop, Thresholds},
    ident::Generation,
    instance::backoff::{Deaths, Verdict},
};

pub use super::state::{
    Manner, Question, Rest, State, Then, in_good_order, is_adoption, probed, running, runs_nothing,
};

/// An instance that was never ready has no traffic to finish: it is given this long at most.
const NEVER_READY_GRACE: Duration = Duration::from_secs(5);
/// One that hangs hardly hears that it is to end; what it can still finish, it finishes in this time.
const HUNG_GRACE: Duration = Duration::from_secs(2);

/// An instance's life so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Where it is.
    pub state: State,
    /// Restarts after deaths since it was last started on purpose.
    pub restarts: u32,
    /// Deaths since it was last started on purpose.
    deaths: Deaths,
    /// Probes in a row that speak for leaving the present state.
    streak: u32,
    /// Live probes in a row that speak for hanging, or, once it hangs, against it.
    pulse: u32,
    /// What is known of a start that has not been seen ready.
    past: Past,
}

/// Whether an instance that is starting can have requests to finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    /// We started it, and it has never been ready.
    NeverReady,
    /// An earlier daemon started it, and may have seen it ready.
    Unknown,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            state: State::Stopped,
            restarts: 0,
            deaths: Deaths::default(),
            streak: 0,
            pulse: 0,
            past: Past::NeverReady,
        }
    }
}

/// What can happen to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Start it afresh, whatever runs.
    Start,
    /// Stop it.
    Stop,
    /// Forget that it ever died.
    Forgive,
    /// A living tree of an earlier daemon was taken over. It must be ready in this time; `None` when
    /// it was ready before, or has lived longer than its start deadline: then it was ready in time,
    /// or would not be there.
    Adopted(Generation, Option<Duration>),
    /// Nobody can tell whether a tree of an earlier daemon lives.
    NotAdopted,
    /// A tree of an earlier daemon is gone, and nobody saw how it ended.
    Vanished,
    /// An earlier daemon left it like this.
    Found(Rest),
    /// The process was started.
    Spawned(Generation),
    /// The process could not be started.
    SpawnFailed,
    /// A probe succeeded.
    Passed(Question, Generation),
    /// A probe failed.
    Failed(Question, Generation),
    /// It hangs, and no successor will be started.
    Forsaken,
    /// It uses more than it may.
    Outgrown(Generation),
    /// The main process ended, by itself or because it was asked to.
    Died(Generation, Manner),
    /// The tree is empty and the port is free.
    Ended(Generation),
    /// The tree could not be ended, or the port is not free.
    EndFailed(Generation),
    /// Nothing is left of it, and the port is free.
    Cleared,
    /// Something is left of it, or the port is not free.
    NotCleared,
    /// A timer that was armed has run out.
    Elapsed(Timer),
}

/// Timers of an instance; arming one again replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// It must be ready by now.
    StartDeadline,
    /// It must have ended by now.
    StopDeadline,
    /// The next start is due.
    Backoff,
    /// It has been up long enough for its past to be forgotten.
    Stable,
    /// A successor of one that hangs must have been started by now.
    Successor,
}

/// What the driver must do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// Start a process, of a new generation.
    Spawn,
    /// Ask the main process to end.
    Terminate,
    /// End every process of the tree, and see that the port is free.
    End,
    /// Wake me with [`Event::Elapsed`].
    Arm(Timer, Duration),
    /// Do not.
    Disarm(Timer),
    /// Write down that it stays as it is now.
    Rest,
}

/// What the operator's configuration says about lives.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// What makes it up; `None`: being ready.
    pub startup: Option<Thresholds>,
    /// Thresholds and the start deadline.
    pub ready: &'a Ready,
    /// What makes it hung, and what makes it well again.
    pub live: Option<Thresholds>,
    /// What happens to one that hangs.
    pub hung: Remedy,
    /// The stop deadline.
    pub stop: &'a Stop,
    /// What follows its ends.
    pub restart: &'a Restart,
    /// The time on a monotonic clock that goes on between calls.
    pub now: Duration,
    /// A number in `0.0..1.0`, drawn by the driver, that spreads back-off delays.
    pub jitter: f64,
}

/// What happens to an instance that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// It is ended, and started again by the restart policy.
    Restart,
    /// So it is when nobody has started a successor in this time.
    Successor(Duration),
}

/// The next life, and what to do for it. Events that do not fit the state, above all those of an
/// earlier generation, change nothing.
#[must_use]
pub fn next(life: Life, event: Event, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    match event {
        Event::Start => order::start(life, policy),
        Event::Stop => order::stop(life, policy),
        Event::Forgive => order::forgive(life),
        Event::Adopted(generation, left) if runs_nothing(life.state) => {
            adopted(life, generation, left)
        }
        Event::NotAdopted if runs_nothing(life.state) => {
            (Life { state: State::Failed, ..life }, vec![])
        }
        Event::Vanished if runs_nothing(life.state) => recover(life, policy),
        Event::Found(rest) if runs_nothing(life.state) => (found(life, rest), vec![]),
        Event::Spawned(generation) if life.state == State::Spawning => {
            started(life, generation, policy)
        }
        Event::SpawnFailed if life.state == State::Spawning => recover(life, policy),
        Event::Passed(question, of) if probed(life.state) == Some(of) => {
            judge::passed(life, question, policy)
        }
        Event::Failed(question, of) if probed(life.state) == Some(of) => {
            judge::failed(life, question, policy)
        }
        Event::Forsaken => order::forsaken(life),
        Event::Outgrown(of) if in_good_order(life.state) == Some(of) => {
            terminate(life, of, Then::Recover, policy.stop.deadline)
        }
        Event::Died(of, manner) => died(life, of, manner, policy),
        Event::Ended(of) => ended(life, of, policy),
        Event::EndFailed(of) if matches!(life.state, State::Ending(now, _) if now == of) => {
            (Life { state: State::Failed, ..life }, vec![])
        }
        Event::Cleared => order::cleared(life),
        Event::NotCleared if matches!(life.state, State::Clearing(_)) => {
            (Life { state: State::Failed, ..life }, vec![])
        }
        Event::Elapsed(timer) => elapsed(life, timer, policy),
        Event::Adopted(..)
        | Event::NotAdopted
        | Event::Vanished
        | Event::Found(_)
        | Event::Spawned(_)
        | Event::SpawnFailed
        | Event::Passed(..)
        | Event::Failed(..)
        | Event::Outgrown(_)
        | Event::EndFailed(_)
        | Event::NotCleared => (life, vec![]),
    }
}

fn found(life: Life, rest: Rest) -> Life {
    let state = match rest {
        Rest::Finished => State::Finished,
        Rest::Failed => State::Failed,
        Rest::Stopped => State::Stopped,
    };
    Life { state, ..life }
}

/// It has not come up.
fn give_start_up(life: Life, g: Generation, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    let within = grace(&life, policy);
    terminate(life, g, Then::Recover, within)
}

/// How long an instance that is starting is given to end.
fn grace(life: &Life, policy: &Policy<'_>) -> Duration {
    match life.past {
        Past::NeverReady => policy.stop.deadline.min(NEVER_READY_GRACE),
        Past::Unknown => policy.stop.deadline,
    }
}

fn terminate(life: Life, g: Generation, then: Then, within: Duration) -> (Life, Vec<Action>) {
    (
        Life { state: State::Terminating(g, then), ..life },
        vec![
            Action::Disarm(Timer::StartDeadline),
            Action::Disarm(Timer::Stable),
            Action::Terminate,
            Action::Arm(Timer::StopDeadline, within),
        ],
    )
}

/// Ends one that hangs.
fn abandon(life: Life, g: Generation, then: Then) -> (Life, Vec<Action>) {
    (
        Life { state: State::Terminating(g, then), ..life },
        vec![
            Action::Disarm(Timer::Stable),
            Action::Disarm(Timer::Successor),
            Action::Terminate,
            Action::Arm(Timer::StopDeadline, HUNG_GRACE),
        ],
    )
}

fn started(life: Life, generation: Generation, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    (
        Life {
            state: State::Starting(generation),
            streak: 0,
            pulse: 0,
            past: Past::NeverReady,
            ..life
        },
        vec![Action::Arm(Timer::StartDeadline, policy.ready.deadline)],
    )
}

/// `P4`: one that was ready before is not ended for being unready now.
fn adopted(life: Life, of: Generation, left: Option<Duration>) -> (Life, Vec<Action>) {
    let life = Life { streak: 0, pulse: 0, past: Past::Unknown, ..life };
    match left {
        Some(left) => (
            Life { state: State::Starting(of), ..life },
            vec![Action::Arm(Timer::StartDeadline, left)],
        ),
        None => (Life { state: State::Unready(of), ..life }, vec![]),
    }
}

fn died(life: Life, of: Generation, manner: Manner, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    let follows = match (manner, policy.restart.policy) {
        (Manner::Clean, RestartPolicy::OnFailure | RestartPolicy::Never) => Then::Finish,
        (Manner::Clean, RestartPolicy::Always) | (Manner::Failure, _) => Then::Recover,
    };
    let then = match life.state {
        State::Starting(g) | State::Ready(g) | State::Unready(g) if g == of => follows,
        State::Hung(g) if g == of => Then::Recover,
        State::Terminating(g, then) if g == of => then,
        _ => return (life, vec![]),
    };
    (
        Life { state: State::Ending(of, then), ..life },
        vec![
            Action::Disarm(Timer::StartDeadline),
            Action::Disarm(Timer::StopDeadline),
            Action::Disarm(Timer::Stable),
            Action::Disarm(Timer::Successor),
            Action::End,
        ],
    )
}

fn ended(life: Life, of: Generation, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    match life.state {
        State::Ending(g, Then::Stop) if g == of => (Life { state: State::Stopped, ..life }, vec![]),
        State::Ending(g, Then::Start) if g == of => {
            (Life { state: State::Spawning, ..Life::default() }, vec![Action::Spawn])
        }
        State::Ending(g, Then::Recover) if g == of => recover(life, policy),
        State::Ending(g, Then::Finish) if g == of => {
            (Life { state: State::Finished, ..life }, vec![Action::Rest])
        }
        _ => (life, vec![]),
    }
}

/// `P5`: the first restart is immediate, the next ones wait, and too many are given up.
fn recover(mut life: Life, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    let verdict = match policy.restart.policy {
        RestartPolicy::Never => Verdict::GiveUp,
        RestartPolicy::Always | RestartPolicy::OnFailure => {
            life.deaths.another(policy.now, policy.restart, policy.jitter)
        }
    };
    match verdict {
        Verdict::Now => (
            Life { state: State::Spawning, restarts: life.restarts + 1, ..life },
            vec![Action::Spawn],
        ),
        Verdict::Wait(delay) => {
            (Life { state: State::Backoff, ..life }, vec![Action::Arm(Timer::Backoff, delay)])
        }
        Verdict::GiveUp => (Life { state: State::Failed, ..life }, vec![Action::Rest]),
    }
}

fn elapsed(mut life: Life, timer: Timer, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    match (timer, life.state) {
        (Timer::StartDeadline, State::Starting(g)) => give_start_up(life, g, policy),
        (Timer::Successor, State::Hung(_)) => order::forsaken(life),
        (Timer::StopDeadline, State::Terminating(g, then)) => {
            (Life { state: State::Ending(g, then), ..life }, vec![Action::End])
        }
        (Timer::Backoff, State::Backoff) => (
            Life { state: State::Spawning, restarts: life.restarts + 1, ..life },
            vec![Action::Spawn],
        ),
        (Timer::Stable, State::Ready(_)) => {
            life.deaths.settle();
            (life, vec![])
        }
        _ => (life, vec![]),
    }
}
