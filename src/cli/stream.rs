//! Answers that come one by one, until they end or Ctrl-C.

use std::pin::pin;

use serde::de::DeserializeOwned;

use super::{Ended, exit::Exit, failure::Failure, screen::complain};
use crate::api::client::Lines;

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

/// Gives each document to `take`.
pub(super) async fn each<T: DeserializeOwned>(
    mut lines: Lines,
    extent: Extent,
    mut take: impl FnMut(&T) -> Result<(), Failure>,
) -> Ended {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            biased;
            _ = &mut interrupt => return Ok(Exit::Done),
            document = lines.next::<T>() => match document? {
                Some(document) => take(&document)?,
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
