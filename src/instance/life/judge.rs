//! What the answers to probes make of an instance. Pure, a part of [`next`](super::next).

use super::{Action, Life, Policy, Question, Remedy, State, Then, Timer, abandon, give_start_up};
use crate::{config::Thresholds, ident::Generation};

type Judged = (Life, Vec<Action>);

const fn unchanged(life: Life) -> Judged {
    (life, vec![])
}

/// A probe of the running generation succeeded.
pub(super) fn passed(life: Life, question: Question, policy: &Policy<'_>) -> Judged {
    let ready = policy.ready.thresholds();
    match (question, life.state, policy.startup) {
        (Question::Startup, State::Starting(g), Some(startup)) => {
            counted(Life { pulse: 0, ..life }, startup.successes, |life| has_come_up(life, g))
        }
        (Question::Ready, State::Starting(g), None) | (Question::Ready, State::Unready(g), _) => {
            counted(life, ready.successes, |life| is_ready(life, g, policy))
        }
        (Question::Ready, State::Ready(_), _) => unchanged(Life { streak: 0, ..life }),
        (Question::Live, State::Hung(g), _) => gives_a_sign(life, g, policy),
        (Question::Live, _, _) => unchanged(Life { pulse: 0, ..life }),
        _ => unchanged(life),
    }
}

/// A probe of the running generation failed.
pub(super) fn failed(life: Life, question: Question, policy: &Policy<'_>) -> Judged {
    let ready = policy.ready.thresholds();
    match (question, life.state, policy.startup) {
        (Question::Startup, State::Starting(g), Some(startup)) => {
            fails_to_start(life, g, startup, policy)
        }
        (Question::Ready, State::Ready(g), _) => counted(life, ready.failures, |life| {
            let life = Life { state: State::Unready(g), ..life };
            (life, vec![Action::Disarm(Timer::Stable)])
        }),
        (Question::Ready, State::Starting(_) | State::Unready(_), _) => {
            unchanged(Life { streak: 0, ..life })
        }
        (Question::Live, State::Ready(g) | State::Unready(g), _) => misses_a_beat(life, g, policy),
        (Question::Live, State::Hung(_), _) => unchanged(Life { pulse: 0, ..life }),
        _ => unchanged(life),
    }
}

/// One more in a row; `enough` of them lead on, and the next are counted anew.
fn counted(life: Life, enough: u32, then: impl FnOnce(Life) -> Judged) -> Judged {
    let streak = life.streak + 1;
    if streak >= enough {
        then(Life { streak: 0, ..life })
    } else {
        unchanged(Life { streak, ..life })
    }
}

/// It is up, whatever becomes of it; whether it may have traffic is another question.
fn has_come_up(life: Life, g: Generation) -> Judged {
    (Life { state: State::Unready(g), ..life }, vec![Action::Disarm(Timer::StartDeadline)])
}

/// While it starts, `streak` counts what speaks for it and `pulse` what speaks against it.
fn fails_to_start(life: Life, g: Generation, startup: Thresholds, policy: &Policy<'_>) -> Judged {
    let pulse = life.pulse.saturating_add(1);
    let life = Life { streak: 0, pulse, ..life };
    if pulse >= startup.failures { give_start_up(life, g, policy) } else { unchanged(life) }
}

fn is_ready(life: Life, g: Generation, policy: &Policy<'_>) -> Judged {
    let mut actions = vec![Action::Disarm(Timer::StartDeadline)];
    if !life.deaths.is_settled() {
        actions.push(Action::Arm(Timer::Stable, policy.restart.stable));
    }
    (Life { state: State::Ready(g), ..life }, actions)
}

fn misses_a_beat(life: Life, g: Generation, policy: &Policy<'_>) -> Judged {
    let Some(Thresholds { failures, .. }) = policy.live else { return unchanged(life) };
    let pulse = life.pulse + 1;
    if pulse < failures {
        return unchanged(Life { pulse, ..life });
    }
    let life = Life { streak: 0, pulse: 0, ..life };
    match policy.hung {
        Remedy::Restart => abandon(life, g, Then::Recover),
        Remedy::Successor(within) => (
            Life { state: State::Hung(g), ..life },
            vec![Action::Disarm(Timer::Stable), Action::Arm(Timer::Successor, within)],
        ),
    }
}

fn gives_a_sign(life: Life, g: Generation, policy: &Policy<'_>) -> Judged {
    let pulse = life.pulse + 1;
    if policy.live.is_some_and(|enough| pulse < enough.successes) {
        return unchanged(Life { pulse, ..life });
    }
    let life = Life { state: State::Unready(g), streak: 0, pulse: 0, ..life };
    (life, vec![Action::Disarm(Timer::Successor)])
}
