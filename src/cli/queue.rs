//! Taking a turn on a service that another rollout holds. Whoever waits here holds nothing: if this
//! program goes away, its turn does (`S2`).

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::{
    daemon::{Answer, Daemon},
    failure::Failure,
    follow,
    progress::Progress,
    screen::Screen,
    verdict::Parting,
};
use crate::{
    api::{
        client::ClientError,
        types::{ProblemCode, Rollout},
    },
    ident::ServiceName,
};

/// Between two tries where nothing is seen to hold the service any more.
const PACE: Duration = Duration::from_millis(100);

/// What to do where another rollout holds the service.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Turn {
    /// Where another rollout holds the service, wait for its end, then begin (at most `--timeout`)
    #[arg(long)]
    wait: bool,
}

impl Turn {
    /// Begins by `ask`, once nothing holds any of `services`.
    ///
    /// # Errors
    /// What `ask` says. A turn that is given up, by Ctrl-C or after `limit`, is the refusal that
    /// named the holder: nothing was begun.
    pub(super) async fn take(
        self,
        services: &[ServiceName],
        limit: Option<Duration>,
        (daemon, screen): (&Daemon, Screen),
        ask: impl AsyncFn() -> Answer<Rollout>,
    ) -> Result<Rollout, Failure> {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let refused = match ask().await {
                Err(error) if self.wait && is_busy(&error) => error,
                begun => return Ok(begun?),
            };
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            match holder(services, daemon).await? {
                Some(holder) => {
                    let mut progress = Progress::new(screen);
                    let parted = follow::follow(holder, left, daemon, &mut progress).await;
                    progress.close();
                    if parted?.1 != Parting::Ended {
                        return Err(refused.into());
                    }
                }
                None if left == Some(Duration::ZERO) => return Err(refused.into()),
                None => sleep(PACE).await,
            }
        }
    }
}

fn is_busy(error: &ClientError) -> bool {
    matches!(error, ClientError::Problem { problem, .. } if problem.code == ProblemCode::Busy)
}

async fn holder(services: &[ServiceName], daemon: &Daemon) -> Result<Option<Rollout>, Failure> {
    let status = daemon.status().await?;
    let named = |name: &str| services.iter().any(|service| service.as_str() == name);
    let mut held = status.services.into_iter().filter(|seen| named(&seen.name));
    Ok(held.find_map(|service| service.rollout))
}
