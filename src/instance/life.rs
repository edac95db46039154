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
//! ```
//!
//! Nothing is spawned before `Ending` was left, and `Ending` is left only by the observation that
//! the tree is empty and the port is free (`P2`, `P3`).

use std::time::Duration;

use crate::{
    config::{Ready, Restart, Stop},
    ident::Generation,
    instance::backoff,
};

/// An instance that was never ready has no traffic to finish: it is given this long at most.
const NEVER_READY_GRACE: Duration = Duration::from_secs(5);

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
    /// It was ready; probes fail.
    Unready(Generation),
    /// It was asked to end.
    Terminating(Generation, Then),
    /// Its main process is gone or past its deadline; the rest of the tree is being ended.
    Ending(Generation, Then),
    /// It died; the next start waits.
    Backoff,
    /// It was given up.
    Failed,
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
}

/// An instance's life so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Where it is.
    pub state: State,
    /// Restarts after deaths since it was last started on purpose.
    pub restarts: u32,
    /// Deaths since it was last stable.
    deaths: u32,
    /// Probes in a row that speak for leaving the present state.
    streak: u32,
}

impl Default for Life {
    fn default() -> Self {
        Self { state: State::Stopped, restarts: 0, deaths: 0, streak: 0 }
    }
}

/// What can happen to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Start it afresh, whatever runs.
    Start,
    /// Stop it.
    Stop,
    /// A living tree of an earlier daemon was taken over.
    Adopted(Generation),
    /// The process was started.
    Spawned(Generation),
    /// The process could not be started.
    SpawnFailed,
    /// A probe succeeded.
    ProbePassed(Generation),
    /// A probe failed.
    ProbeFailed(Generation),
    /// The main process ended.
    Died(Generation),
    /// The tree is empty and the port is free.
    Ended(Generation),
    /// The tree could not be ended.
    EndFailed(Generation),
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
}

/// What the operator's configuration says about lives.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// Thresholds and the start deadline.
    pub ready: &'a Ready,
    /// The stop deadline.
    pub stop: &'a Stop,
    /// Back-off and limit.
    pub restart: &'a Restart,
    /// A number in `0.0..1.0`, drawn by the driver, that spreads back-off delays.
    pub jitter: f64,
}

/// The next life, and what to do for it. Events that do not fit the state, above all those of an
/// earlier generation, change nothing.
#[must_use]
pub fn next(life: Life, event: Event, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    match event {
        Event::Start => start(life, policy),
        Event::Stop => stop(life, policy),
        Event::Adopted(generation) if life.state == State::Stopped => {
            started(life, generation, policy)
        }
        Event::Spawned(generation) if life.state == State::Spawning => {
            started(life, generation, policy)
        }
        Event::SpawnFailed if life.state == State::Spawning => recover(life, policy),
        Event::ProbePassed(of) => passed(life, of, policy),
        Event::ProbeFailed(of) => failed(life, of, policy),
        Event::Died(of) => died(life, of),
        Event::Ended(of) => ended(life, of, policy),
        Event::EndFailed(of) if matches!(life.state, State::Ending(now, _) if now == of) => {
            (Life { state: State::Failed, ..life }, vec![])
        }
        Event::Elapsed(timer) => elapsed(life, timer, policy),
        Event::Adopted(_) | Event::Spawned(_) | Event::SpawnFailed | Event::EndFailed(_) => {
            (life, vec![])
        }
    }
}

/// The generation that runs, in states where one does.
#[must_use]
pub const fn running(state: State) -> Option<Generation> {
    match state {
        State::Starting(g)
        | State::Ready(g)
        | State::Unready(g)
        | State::Terminating(g, _)
        | State::Ending(g, _) => Some(g),
        State::Stopped | State::Spawning | State::Backoff | State::Failed => None,
    }
}

/// The generation that probes are about, in states where they matter.
#[must_use]
pub const fn probed(state: State) -> Option<Generation> {
    match state {
        State::Starting(g) | State::Ready(g) | State::Unready(g) => Some(g),
        _ => None,
    }
}

fn start(life: Life, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    match life.state {
        State::Stopped | State::Failed | State::Backoff => (
            Life { state: State::Spawning, ..Life::default() },
            vec![Action::Disarm(Timer::Backoff), Action::Spawn],
        ),
        State::Starting(g) | State::Ready(g) | State::Unready(g) => {
            terminate(life, g, Then::Start, policy.stop.deadline)
        }
        State::Terminating(g, _) => {
            (Life { state: State::Terminating(g, Then::Start), ..life }, vec![])
        }
        State::Ending(g, _) => (Life { state: State::Ending(g, Then::Start), ..life }, vec![]),
        State::Spawning => (life, vec![]),
    }
}

fn stop(life: Life, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    match life.state {
        State::Failed | State::Backoff | State::Spawning => {
            (Life { state: State::Stopped, ..life }, vec![Action::Disarm(Timer::Backoff)])
        }
        State::Starting(g) => {
            terminate(life, g, Then::Stop, policy.stop.deadline.min(NEVER_READY_GRACE))
        }
        State::Ready(g) | State::Unready(g) => terminate(life, g, Then::Stop, policy.stop.deadline),
        State::Terminating(g, _) => {
            (Life { state: State::Terminating(g, Then::Stop), ..life }, vec![])
        }
        State::Ending(g, _) => (Life { state: State::Ending(g, Then::Stop), ..life }, vec![]),
        State::Stopped => (life, vec![]),
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

fn started(life: Life, generation: Generation, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    (
        Life { state: State::Starting(generation), streak: 0, ..life },
        vec![Action::Arm(Timer::StartDeadline, policy.ready.deadline)],
    )
}

fn passed(life: Life, of: Generation, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    let enough = life.streak + 1 >= policy.ready.successes;
    match life.state {
        State::Starting(g) | State::Unready(g) if g == of && enough => (
            Life { state: State::Ready(g), streak: 0, ..life },
            vec![
                Action::Disarm(Timer::StartDeadline),
                Action::Arm(Timer::Stable, policy.restart.stable),
            ],
        ),
        State::Starting(g) | State::Unready(g) if g == of => {
            (Life { streak: life.streak + 1, ..life }, vec![])
        }
        State::Ready(g) if g == of => (Life { streak: 0, ..life }, vec![]),
        _ => (life, vec![]),
    }
}

fn failed(life: Life, of: Generation, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    match life.state {
        State::Ready(g) if g == of && life.streak + 1 >= policy.ready.failures => (
            Life { state: State::Unready(g), streak: 0, ..life },
            vec![Action::Disarm(Timer::Stable)],
        ),
        State::Ready(g) if g == of => (Life { streak: life.streak + 1, ..life }, vec![]),
        State::Starting(g) | State::Unready(g) if g == of => (Life { streak: 0, ..life }, vec![]),
        _ => (life, vec![]),
    }
}

fn died(life: Life, of: Generation) -> (Life, Vec<Action>) {
    let then = match life.state {
        State::Starting(g) | State::Ready(g) | State::Unready(g) if g == of => Then::Recover,
        State::Terminating(g, then) if g == of => then,
        _ => return (life, vec![]),
    };
    (
        Life { state: State::Ending(of, then), ..life },
        vec![
            Action::Disarm(Timer::StartDeadline),
            Action::Disarm(Timer::StopDeadline),
            Action::Disarm(Timer::Stable),
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
        _ => (life, vec![]),
    }
}

/// `P5`: the first restart is immediate, the next ones wait, and too many are given up.
fn recover(life: Life, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    let deaths = life.deaths + 1;
    let life = Life { deaths, ..life };
    match backoff::after(deaths, policy.restart, policy.jitter) {
        backoff::Verdict::Now => (
            Life { state: State::Spawning, restarts: life.restarts + 1, ..life },
            vec![Action::Spawn],
        ),
        backoff::Verdict::Wait(delay) => {
            (Life { state: State::Backoff, ..life }, vec![Action::Arm(Timer::Backoff, delay)])
        }
        backoff::Verdict::GiveUp => (Life { state: State::Failed, ..life }, vec![]),
    }
}

fn elapsed(life: Life, timer: Timer, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    match (timer, life.state) {
        (Timer::StartDeadline, State::Starting(g)) => {
            terminate(life, g, Then::Recover, policy.stop.deadline.min(NEVER_READY_GRACE))
        }
        (Timer::StopDeadline, State::Terminating(g, then)) => {
            (Life { state: State::Ending(g, then), ..life }, vec![Action::End])
        }
        (Timer::Backoff, State::Backoff) => (
            Life { state: State::Spawning, restarts: life.restarts + 1, ..life },
            vec![Action::Spawn],
        ),
        (Timer::Stable, State::Ready(_)) => (Life { deaths: 0, ..life }, vec![]),
        _ => (life, vec![]),
    }
}
