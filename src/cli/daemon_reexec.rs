//! `daemon-reexec`: another program in the daemon's place.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::{Ended, daemon::Daemon, exit::Exit, failure::Failure, screen::Screen};
use crate::api::types::Version;

/// How long the new program may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions.
const PACE: Duration = Duration::from_millis(50);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize)]
struct Done {
    before: Version,
    after: Version,
}

pub(super) async fn run(daemon: &Daemon, screen: Screen) -> Ended {
    let begun = daemon.reexec().await?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        // The old one may still answer, or nobody.
        if let Ok(Ok(after)) = timeout(ANSWER, daemon.version()).await
            && after.begun != begun.before.begun
        {
            let done = Done { before: begun.before, after };
            screen.show(&done, |_| text(&done))?;
            return Ok(Exit::Done);
        }
        sleep(PACE).await;
    }
    Err(Failure::here(
        format!("aibkd {} does not answer after {PATIENCE:?}", begun.after),
        "the instances run on; see its log (`journalctl -u aibkd`), then start it",
    ))
}

fn text(done: &Done) -> String {
    let Done { before, after } = done;
    format!("aibkd {} took the place of {}, pid {}\n", after.daemon, before.daemon, after.pid)
}
