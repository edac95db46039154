//! Somebody who reads along, perhaps slowly.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::process::Line;

/// Lines that wait for one slow reader.
const QUEUE: usize = 256;

#[derive(Debug)]
pub(super) struct Follower {
    lines: mpsc::Sender<Line>,
    missed: Arc<Mutex<Option<Missed>>>,
}

/// What did not fit into the queue. The notice about it takes the place (and the time) of the first.
#[derive(Debug)]
struct Missed {
    first: Line,
    count: u64,
}

impl Follower {
    pub(super) fn new() -> (Self, mpsc::Receiver<Line>) {
        let (lines, receiver) = mpsc::channel(QUEUE);
        (Self { lines, missed: Arc::default() }, receiver)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lines.is_closed()
    }

    /// Gives it the next line. Where the queue is full, lines are counted until there is room again.
    pub(super) fn offer(&self, line: &Line) {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missed) = missed.as_mut() {
            missed.count += 1;
        } else if let Err(mpsc::error::TrySendError::Full(first)) =
            self.lines.try_send(line.clone())
        {
            *missed = Some(Missed { first, count: 1 });
            tokio::spawn(catch_up(self.lines.clone(), Arc::clone(&self.missed)));
        }
    }
}

async fn catch_up(lines: mpsc::Sender<Line>, missed: Arc<Mutex<Option<Missed>>>) {
    let Ok(room) = lines.reserve_owned().await else { return };
    // Under the lock, so that the next line comes after the notice.
    let mut missed = missed.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Missed { first, count }) = missed.take() {
        let text = format!("[aibk: this reader was too slow for {count} lines]");
        room.send(Line { text, ..first });
    }
}
