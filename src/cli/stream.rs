//! Answers that come line by line, until they end or Ctrl-C.

use std::pin::pin;

use super::{Ended, exit::Exit, failure::Failure, screen::complain};
use crate::api::client::LineStream;

/// Whether there is an end to expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// What there is now.
    Past,
    /// That, and everything to come.
    Future,
}

impl Extent {
    pub(super) const fn of_follow(follow: bool) -> Self {
        if follow { Self::Future } else { Self::Past }
    }
}

/// Gives each line to `take`.
pub(super) async fn each_line(
    mut lines: LineStream,
    extent: Extent,
    mut take: impl FnMut(&str) -> Result<(), Failure>,
) -> Ended {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            biased;
            _ = &mut interrupt => return Ok(Exit::Done),
            line = lines.next() => match line {
                Some(line) => take(&line?)?,
                None if extent == Extent::Past => return Ok(Exit::Done),
                None => {
                    complain("aibkctl: aibkd ended the stream\n  \
                              next: `aibkctl status` tells whether it runs\n");
                    return Ok(Exit::NotReachable);
                }
            },
        }
    }
}
