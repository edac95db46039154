//! Where lines get their time and generation, are remembered, and go out to followers and the file.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::{
    Start, Wanted,
    follower::Follower,
    json,
    log_file::{Mark, Span},
    writer::{Lines, Origin, Slot},
};
use crate::{
    ident::Generation,
    process::{Line, Stream},
};

/// Limits of the memory ring: lines, and bytes of text.
const RING: (usize, usize) = (256, 64 * 1024);

#[derive(Debug)]
pub(super) struct Hub {
    /// The last line taken, and whose the next one is.
    last: Mark,
    now: Option<i64>,
    ring: VecDeque<Line>,
    ring_bytes: usize,
    followers: Vec<Follower>,
    batch: Vec<u8>,
    span: Option<Span>,
    slot: Slot,
}

impl Hub {
    /// Goes on after `last`, the last line that an earlier daemon wrote.
    pub(super) fn new(last: Mark, slot: Slot) -> Self {
        Self {
            last,
            now: None,
            ring: VecDeque::new(),
            ring_bytes: 0,
            followers: Vec::new(),
            batch: Vec::new(),
            span: None,
            slot,
        }
    }

    /// Lines of `start` may come.
    pub(super) fn introduce(&self, start: Start) {
        self.slot.begin(start);
    }

    /// The next lines are of `generation`.
    pub(super) const fn belong_to(&mut self, generation: Generation) {
        self.last.generation = generation;
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Takes one line; [`hand_over`](Self::hand_over) must follow before the lock is given up.
    pub(super) fn push(&mut self, stream: Stream, text: String) {
        let line = self.stamp(stream, text);
        json::write(&mut self.batch, &line);
        let one = Span::of(&line);
        self.span = Some(self.span.map_or(one, |span| span.and(one)));
        self.followers.retain(|follower| !follower.is_gone());
        for follower in &self.followers {
            follower.offer(&line);
        }
        self.remember(line);
    }

    /// Gives the lines taken since the last time, which came from `origin`, to the writer thread.
    pub(super) fn hand_over(&mut self, origin: Option<Origin>) {
        self.now = None;
        if let Some(span) = self.span.take() {
            self.slot.send(Lines { bytes: std::mem::take(&mut self.batch), span, origin });
        }
    }

    /// The last `n` wanted lines of the ring, and the time before which older ones are.
    pub(super) fn recent(&self, n: usize, wanted: &Wanted) -> (Vec<Line>, i64) {
        let newest_first = self.ring.iter().rev().filter(|line| wanted.has(line)).take(n);
        let mut lines: Vec<Line> = newest_first.cloned().collect();
        lines.reverse();
        (lines, self.ring.front().map_or(self.last.at + 1, |line| line.at))
    }

    pub(super) fn follow(&mut self) -> mpsc::Receiver<Line> {
        self.followers.retain(|follower| !follower.is_gone());
        let (follower, lines) = Follower::new();
        self.followers.push(follower);
        lines
    }

    fn stamp(&mut self, stream: Stream, text: String) -> Line {
        // One look at the clock per chunk; lines of one chunk differ by a microsecond each.
        let now = *self.now.get_or_insert_with(|| jiff::Timestamp::now().as_microsecond());
        self.last.at = now.max(self.last.at + 1);
        Line { at: self.last.at, generation: self.last.generation, stream, text }
    }

    fn remember(&mut self, line: Line) {
        self.ring_bytes += line.text.len();
        self.ring.push_back(line);
        while self.ring.len() > RING.0 || self.ring_bytes > RING.1 {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.ring_bytes -= oldest.text.len();
        }
    }
}
