//! When one question is put to an instance.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    life::{self, Question, State},
    probe::{self, Verdict, Whom},
};
use crate::config::Sign;

/// While it starts, it is asked this often whether it is ready: a refused connection costs next to
/// nothing.
const WHILE_STARTING: Duration = Duration::from_millis(25);
/// One that has come up is asked at least this often whether it is ready, until it is.
const UNTIL_READY: Duration = Duration::from_secs(1);

/// An answer, and what it took.
pub(super) struct Given {
    pub(super) at: std::time::Instant,
    pub(super) took: Duration,
    pub(super) verdict: Verdict,
}

type Asking = Pin<Box<dyn Future<Output = Given> + Send>>;

/// One question, and when it is put.
pub(super) struct Schedule {
    question: Question,
    sign: Sign,
    /// The question that tells whether an instance has come up.
    opens: Question,
    due: Option<Instant>,
    /// Until the next question: as things are, and once an answer speaks against it.
    pace: Duration,
    lapse: Duration,
    asking: Option<Asking>,
}

impl Schedule {
    pub(super) const fn new(question: Question, sign: Sign, opens: Question) -> Self {
        let (pace, lapse) = (Duration::ZERO, Duration::ZERO);
        Self { question, sign, opens, due: None, pace, lapse, asking: None }
    }

    pub(super) const fn question(&self) -> Question {
        self.question
    }

    pub(super) const fn sign(&self) -> &Sign {
        &self.sign
    }

    /// It will be put.
    pub(super) const fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// The state has changed: another question may be due, at another pace.
    pub(super) fn state_changed(&mut self, before: State, state: State) {
        let lives = |state| matches!(state, State::Ready(_) | State::Unready(_));
        if self.question == Question::Live && self.is_due() && lives(before) && lives(state) {
            return;
        }
        self.asking = None;
        let first = self.first(before, state);
        self.due = first.map(|(after, ..)| Instant::now() + after);
        if let Some((_, pace, lapse)) = first {
            (self.pace, self.lapse) = (pace, lapse);
        }
    }

    /// How long from now it is put first, and the two paces from there; `None`: not in `state`.
    fn first(&self, before: State, state: State) -> Option<(Duration, Duration, Duration)> {
        let interval = match &self.sign {
            Sign::Asked(check) => check.interval,
            Sign::Alive { .. } => Duration::ZERO,
        };
        let now = Duration::ZERO;
        let adopted = life::is_adoption(before, state);
        match (self.question, state, &self.sign) {
            (Question::Startup, State::Starting(_), _) => Some((now, interval, interval)),
            (Question::Ready, State::Starting(_), _) if self.opens != Question::Ready => None,
            // Most probably it is ready, and traffic waits for us to see it.
            (Question::Ready, State::Unready(_), _) if adopted => {
                Some((now, WHILE_STARTING, interval.max(WHILE_STARTING)))
            }
            (Question::Ready, State::Ready(_), Sign::Alive { .. }) => None,
            (Question::Ready, State::Starting(_) | State::Unready(_), Sign::Alive { after }) => {
                Some((*after, WHILE_STARTING, WHILE_STARTING))
            }
            (Question::Ready, State::Starting(_), _) => Some((now, WHILE_STARTING, WHILE_STARTING)),
            (Question::Ready, State::Unready(_), _) => match before {
                State::Starting(_) => Some((now, WHILE_STARTING, interval.min(UNTIL_READY))),
                _ => Some((interval, interval, interval)),
            },
            (Question::Ready, State::Ready(_), _) => Some((interval, interval, interval)),
            (Question::Live, State::Ready(_) | State::Unready(_), _) if adopted => {
                Some((now, interval, interval))
            }
            (Question::Live, State::Ready(_) | State::Unready(_) | State::Hung(_), _) => {
                Some((interval, interval, interval))
            }
            _ => None,
        }
    }

    /// Waits for the next answer. Cancel safe: what was asked is asked on.
    pub(super) async fn next(&mut self, whom: Whom<'_>) -> (Question, Given) {
        let Some(due) = self.due else { return std::future::pending().await };
        let asking = match &mut self.asking {
            Some(asking) => asking,
            none => {
                sleep_until(due).await;
                none.insert(ask(self.question, &self.sign, whom))
            }
        };
        (self.question, asking.await)
    }

    /// Its answer was taken.
    pub(super) fn answered(&mut self, passed: bool) {
        self.asking = None;
        if !passed {
            self.pace = self.lapse;
        }
        self.due = Some(Instant::now() + self.pace);
    }
}

fn ask(question: Question, sign: &Sign, whom: Whom<'_>) -> Asking {
    let began = std::time::Instant::now();
    let given = move |verdict| {
        let at = std::time::Instant::now();
        Given { at, took: at - began, verdict }
    };
    match sign {
        Sign::Asked(check) => {
            let (subject, how, within) = (whom.subject(), check.how.clone(), check.timeout);
            let name = question.word();
            Box::pin(async move {
                given(match question {
                    Question::Live => probe::ask_for_life(subject, how, name, within).await,
                    Question::Startup | Question::Ready => {
                        probe::ask(subject, how, name, within).await
                    }
                })
            })
        }
        Sign::Alive { .. } => Box::pin(std::future::ready(given(Ok("is alive".to_owned())))),
    }
}
