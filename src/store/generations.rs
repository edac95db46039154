//! Generations: numbers that never repeat, given out without waiting for a disk.
//!
//! The database says up to which number this daemon may give; that is written before any of them
//! is given, so after a crash the rest of the block is skipped, never repeated. The next block is
//! written while half of this one is left.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::{
    columns::{number, signed},
    error::StoreError,
    thread::Thread,
};
use crate::ident::Generation;

/// Numbers reserved at once.
pub(super) const BLOCK: u64 = 64;
const DOING: &str = "reserve generations";

/// The numbers reserved for this daemon and not given yet.
#[derive(Debug)]
pub(super) struct Generations(Arc<Mutex<Reserve>>);

#[derive(Debug, PartialEq, Eq)]
struct Reserve {
    next: u64,
    /// One above the last reserved number.
    end: u64,
    refill: Refill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refill {
    Idle,
    UnderWay,
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Given(u64),
    /// Given, and the caller must have more reserved.
    GivenRefill(u64),
    Empty,
}

impl Reserve {
    fn take(&mut self) -> Taken {
        if self.next >= self.end {
            return Taken::Empty;
        }
        let given = self.next;
        self.next += 1;
        if self.end - self.next <= BLOCK / 2 && self.refill == Refill::Idle {
            self.refill = Refill::UnderWay;
            return Taken::GivenRefill(given);
        }
        Taken::Given(given)
    }

    /// Blocks follow each other without a gap as long as one daemon reserves, and the lock sees
    /// to that; so only the end moves.
    fn refilled(&mut self, end: Option<u64>) {
        self.refill = Refill::Idle;
        self.end = self.end.max(end.unwrap_or(0));
    }
}

impl Generations {
    /// Reserves the first block; waits for the disk.
    pub(super) fn open(db: &Connection) -> rusqlite::Result<Self> {
        let end = reserve(db)?;
        let reserve = Reserve { next: end - BLOCK.min(end), end, refill: Refill::Idle };
        Ok(Self(Arc::new(Mutex::new(reserve))))
    }

    /// The next number; waits for the disk only where a whole block was used up meanwhile.
    pub(super) async fn next(&self, thread: &Thread) -> Result<Generation, StoreError> {
        loop {
            match with(&self.0, Reserve::take) {
                Taken::Given(n) => return Ok(Generation(n)),
                Taken::GivenRefill(n) => {
                    self.refill(thread);
                    return Ok(Generation(n));
                }
                Taken::Empty => {
                    let end = thread.write(DOING, reserve).await?;
                    with(&self.0, |reserve| reserve.refilled(Some(end)));
                }
            }
        }
    }

    fn refill(&self, thread: &Thread) {
        let shared = Arc::clone(&self.0);
        let then = move |end: Result<u64, StoreError>| {
            if let Err(e) = &end {
                tracing::error!("{e}");
            }
            with(&shared, |reserve| reserve.refilled(end.ok()));
        };
        if thread.post(DOING, reserve, then).is_err() {
            with(&self.0, |reserve| reserve.refilled(None));
        }
    }
}

fn with<T>(shared: &Mutex<Reserve>, act: impl FnOnce(&mut Reserve) -> T) -> T {
    act(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Writes one block more; answers its end.
fn reserve(db: &Connection) -> rusqlite::Result<u64> {
    let end = db.query_row(
        "UPDATE counters SET next = next + ?1 WHERE name = 'generation' RETURNING next",
        [signed(BLOCK)],
        |row| row.get(0),
    )?;
    number(0, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_asked_for_once_while_half_a_block_is_left() {
        let mut reserve = Reserve { next: 1, end: 1 + BLOCK, refill: Refill::Idle };
        let mut asked = vec![];
        for expected in 1..=BLOCK {
            match reserve.take() {
                Taken::Given(n) => assert_eq!(n, expected),
                Taken::GivenRefill(n) => asked.push(n),
                Taken::Empty => panic!("empty at {expected}"),
            }
        }
        assert_eq!(asked, [BLOCK / 2]);
        assert_eq!(reserve.take(), Taken::Empty);
        reserve.refilled(Some(1 + 2 * BLOCK));
        assert_eq!(reserve.take(), Taken::Given(BLOCK + 1));
    }

    #[test]
    fn a_failed_refill_is_asked_for_again() {
        let mut reserve = Reserve { next: 1, end: 4, refill: Refill::Idle };
        assert_eq!(reserve.take(), Taken::GivenRefill(1));
        assert_eq!(reserve.take(), Taken::Given(2));
        reserve.refilled(None);
        assert_eq!(reserve.take(), Taken::GivenRefill(3));
    }
}
