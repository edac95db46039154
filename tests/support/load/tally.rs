//! What happened so far.

use std::{
    collections::BTreeMap,
    fmt, process,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Class, Failure};

/// Failures that are kept word for word.
const EXAMPLES: usize = 20;

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A quick GET on a kept-alive connection.
    Get,
    /// A POST with an id of its own, on a kept-alive connection.
    Post,
    /// A GET that takes two seconds.
    Slow,
    /// A GET whose answer is streamed for two seconds.
    Stream,
    /// One message over a websocket and its echo.
    WebSocket,
    /// A GET on a connection that was silent for a while after it was opened.
    Silent,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Slow => "slow",
            Self::Stream => "stream",
            Self::WebSocket => "websocket",
            Self::Silent => "silent",
        })
    }
}

/// What became of an order, as its client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The application said that it is done: it must have been executed exactly once.
    Acknowledged,
    /// The connection was closed as it was written: never or once.
    Raced,
    /// It failed otherwise, which is counted as such: never or once.
    Failed,
}

impl Fate {
    /// The fate that goes with a failure, or with none.
    pub(super) fn of(failure: Option<&Failure>) -> Self {
        match failure.map(|failure| failure.class) {
            None => Self::Acknowledged,
            Some(Class::Race) => Self::Raced,
            Some(_) => Self::Failed,
        }
    }
}

/// One failure, for people.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    /// Seconds since the load began.
    pub at_s: f64,
    /// `reset`, `http-502`.
    pub class: String,
    /// What was asked for.
    pub path: String,
    /// More about it.
    pub detail: String,
}

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Requests sent.
    pub sent: u64,
    /// Requests answered as they should be.
    pub answered: u64,
    /// Requests lost.
    pub lost: u64,
}

/// Every count of a load.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) begun: Instant,
    pub(super) ended: Option<Instant>,
    pub(super) sent: BTreeMap<Kind, u64>,
    pub(super) answered: BTreeMap<Kind, u64>,
    pub(super) failures: BTreeMap<Class, u64>,
    pub(super) examples: Vec<Example>,
    /// Of GETs, in microseconds.
    pub(super) latencies: Vec<u32>,
    pub(super) longest_pause: Duration,
    pub(super) closes: BTreeMap<u16, u64>,
    pub(super) orders: Vec<(String, Fate)>,
    last_get: Instant,
    next_order: u64,
    prefix: String,
}

impl Tally {
    pub(super) fn new() -> Self {
        let begun = Instant::now();
        let now = jiff::Timestamp::now().as_microsecond();
        Self {
            begun,
            ended: None,
            sent: BTreeMap::new(),
            answered: BTreeMap::new(),
            failures: BTreeMap::new(),
            examples: Vec::new(),
            latencies: Vec::new(),
            longest_pause: Duration::ZERO,
            closes: BTreeMap::new(),
            orders: Vec::new(),
            last_get: begun,
            next_order: 0,
            prefix: format!("{}-{now}", process::id()),
        }
    }

    pub(super) fn new_order(&mut self) -> String {
        self.next_order += 1;
        format!("{}-{}", self.prefix, self.next_order)
    }

    pub(super) fn order(&mut self, id: String, fate: Fate) {
        self.orders.push((id, fate));
    }

    pub(super) fn sent(&mut self, kind: Kind) {
        *self.sent.entry(kind).or_default() += 1;
    }

    /// Takes back a message that crossed a proper close on its way.
    pub(super) fn unsent(&mut self, kind: Kind) {
        *self.sent.entry(kind).or_default() -= 1;
    }

    pub(super) fn answered(&mut self, kind: Kind, took: Duration) {
        *self.answered.entry(kind).or_default() += 1;
        if kind == Kind::Get {
            self.latencies.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            let now = Instant::now();
            self.longest_pause = self.longest_pause.max(now - self.last_get);
            self.last_get = now;
        }
    }

    pub(super) fn failed(&mut self, kind: Kind, path: &str, failure: &Failure) {
        *self.failures.entry(failure.class).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(Example {
                at_s: self.begun.elapsed().as_secs_f64(),
                class: failure.class.to_string(),
                path: format!("{kind} {path}"),
                detail: failure.detail.clone(),
            });
        }
    }

    pub(super) fn closed(&mut self, code: u16) {
        *self.closes.entry(code).or_default() += 1;
    }

    /// Nothing more is sent: a pause that lasts until now counts.
    pub(super) fn stopping(&mut self) {
        if self.sent.contains_key(&Kind::Get) {
            self.longest_pause = self.longest_pause.max(self.last_get.elapsed());
        }
    }

    pub(super) fn end(&mut self) {
        self.ended = Some(Instant::now());
    }

    pub(super) fn progress(&self) -> Progress {
        let losses = self.failures.iter().filter(|(class, _)| class.is_loss());
        Progress {
            sent: self.sent.values().sum(),
            answered: self.answered.values().sum(),
            lost: losses.map(|(_, many)| many).sum(),
        }
    }
}
