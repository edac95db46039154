//! nginx's log of requests is kept small: what no rollout counts is not needed.

use std::{io, path::Path, sync::Arc, time::Duration};

use crate::{
    nginx::Nginx,
    rollout::Engine,
    sys::inotify::{Changes, Inotify},
};

/// Between a request and a look at the log's size. Without a request nothing is looked at.
const PAUSE: Duration = Duration::from_secs(30);
/// Until it is tried again where nothing tells of a request.
const SELDOM: Duration = Duration::from_secs(600);

/// Its largest size while nothing is counted: what was before a rollout is read from it.
const USUAL: u64 = 16 << 20;
/// And while something is. Requests of a rollout that needs more are not counted.
const COUNTING: u64 = 256 << 20;

/// Empties the log each time that it has become too large, until the daemon ends.
pub(super) async fn keep_small(engine: Engine, nginx: Arc<Nginx>) {
    let Some(log) = nginx.request_log().map(ToOwned::to_owned) else { return };
    loop {
        if let Err(e) = written_to(&log).await {
            tracing::debug!("nobody tells when {} grows: {e}", log.display());
            tokio::time::sleep(SELDOM).await;
        }
        tokio::time::sleep(PAUSE).await;
        // No rollout may begin to count between the look and the deed.
        let Ok(_hold) = engine.hold().await else { return };
        let counting = engine.crews().keys().any(|service| engine.under_way(service).is_some());
        let limit = if counting { COUNTING } else { USUAL };
        if let Err(e) = nginx.limit_request_log(limit).await {
            tracing::warn!("{e}");
        }
    }
}

/// Waits until something is written into `log`, or, where there is none yet, comes into its
/// directory. Nobody is told of what follows, so that a busy nginx wakes nobody up.
async fn written_to(log: &Path) -> io::Result<()> {
    let mut inotify = Inotify::new()?;
    let directory = log.parent().unwrap_or(log);
    let what =
        if log.exists() { (log, Changes::OfGrowth) } else { (directory, Changes::OfArrivals) };
    inotify.watch([what])?;
    inotify.changed().await
}
