//! Orders to an instance, and what follows once its slot is clear. Pure, a part of
//! [`next`](super::next).

use super::{Action, Life, Policy, State, Then, Timer, abandon, grace, terminate};
use crate::instance::backoff::Deaths;

pub(super) fn start(life: Life, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    match life.state {
        State::Stopped | State::Finished | State::Backoff => (
            Life { state: State::Spawning, ..Life::default() },
            vec![Action::Disarm(Timer::Backoff), Action::Spawn],
        ),
        State::Failed => clear(life, Then::Start),
        State::Clearing(_) => (Life { state: State::Clearing(Then::Start), ..life }, vec![]),
        State::Starting(g) | State::Ready(g) | State::Unready(g) => {
            terminate(life, g, Then::Start, policy.stop.deadline)
        }
        State::Hung(g) => abandon(life, g, Then::Start),
        State::Terminating(g, _) => {
            (Life { state: State::Terminating(g, Then::Start), ..life }, vec![])
        }
        State::Ending(g, _) => (Life { state: State::Ending(g, Then::Start), ..life }, vec![]),
        State::Spawning => (life, vec![]),
    }
}

pub(super) fn stop(life: Life, policy: &Policy<'_>) -> (Life, Vec<Action>) {
    match life.state {
        State::Failed | State::Finished | State::Backoff => clear(life, Then::Stop),
        State::Clearing(_) => (Life { state: State::Clearing(Then::Stop), ..life }, vec![]),
        State::Starting(g) => {
            let within = grace(&life, policy);
            terminate(life, g, Then::Stop, within)
        }
        State::Ready(g) | State::Unready(g) => terminate(life, g, Then::Stop, policy.stop.deadline),
        State::Hung(g) => abandon(life, g, Then::Stop),
        State::Terminating(g, _) => {
            (Life { state: State::Terminating(g, Then::Stop), ..life }, vec![])
        }
        State::Ending(g, _) => (Life { state: State::Ending(g, Then::Stop), ..life }, vec![]),
        // The driver takes no order between a spawn and its result.
        State::Stopped | State::Spawning => (life, vec![]),
    }
}

/// What was given up is stopped with that: no reason is left to call it anything else.
pub(super) fn forgive(mut life: Life) -> (Life, Vec<Action>) {
    life.restarts = 0;
    life.deaths = Deaths::default();
    match life.state {
        State::Failed => clear(life, Then::Stop),
        _ => (life, vec![]),
    }
}

fn clear(life: Life, then: Then) -> (Life, Vec<Action>) {
    (
        Life { state: State::Clearing(then), ..life },
        vec![Action::Disarm(Timer::Backoff), Action::End],
    )
}

pub(super) fn cleared(life: Life) -> (Life, Vec<Action>) {
    match life.state {
        State::Clearing(Then::Start) => {
            (Life { state: State::Spawning, ..Life::default() }, vec![Action::Spawn])
        }
        State::Clearing(_) => (Life { state: State::Stopped, ..life }, vec![]),
        _ => (life, vec![]),
    }
}

pub(super) fn forsaken(life: Life) -> (Life, Vec<Action>) {
    match life.state {
        State::Hung(g) => abandon(life, g, Then::Recover),
        _ => (life, vec![]),
    }
}
