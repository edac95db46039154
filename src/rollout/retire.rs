//! When the old colour of a swap is no longer kept warm.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    EngineError,
    draft::Request,
    engine::Engine,
    record::{Kind, Outcome, Rollout},
};
use crate::{
    config::{RolloutPolicy, Standby},
    ident::Slot,
};

/// A retirement that is refused, because the new colour is not well, is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// The slot that `last` left warm, and for how much longer; `None` when it left none, or the
/// service keeps its second slot up anyway.
#[must_use]
pub(super) fn due(last: &Rollout, policy: &RolloutPolicy, now: i64) -> Option<(Slot, Duration)> {
    let swapped =
        matches!(last.kind, Kind::Swap | Kind::Rollback) && last.outcome() == Some(Outcome::Done);
    if !swapped || policy.standby != Standby::Stopped {
        return None;
    }
    let slot = *last.served.first()?;
    let age = u64::try_from(now.saturating_sub(last.ended?)).unwrap_or(0);
    Some((slot, policy.keep_old.saturating_sub(Duration::from_micros(age))))
}

impl Engine {
    /// Waits until the old colour of `rollout` need not be kept, and retires it, unless something
    /// else was done to the service meanwhile.
    pub fn retire_later(&self, rollout: &Rollout) {
        let Ok(crew) = self.crew(&rollout.service) else { return };
        let now = Timestamp::now().as_microsecond();
        let Some((slot, after)) = due(rollout, &crew.service.rollout, now) else { return };
        let (engine, swap) = (self.clone(), rollout.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            while let Err(e) = engine.retire(&swap, slot).await {
                tracing::warn!(service = %swap.service, "the old colour stays warm: {e}");
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    /// Retires `slot`, unless something was done to the service since `swap`.
    async fn retire(&self, swap: &Rollout, slot: Slot) -> Result<(), EngineError> {
        if !self.is_newest(swap).await? {
            return Ok(());
        }
        // It may have left the configuration meanwhile.
        let (Ok(_), Some(current)) = (self.crew(&swap.service), swap.release.clone()) else {
            return Ok(());
        };
        let request = Request { slot: Some(slot), ..Request::of(Kind::Retire, current) };
        match self.begin(&swap.service, request, "aibkd".to_owned()).await {
            Ok(_) | Err(EngineError::Ending) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Nobody has done anything to the service since `rollout`.
    pub(super) async fn is_newest(&self, rollout: &Rollout) -> Result<bool, EngineError> {
        let newest = self.newest_that(&rollout.service, did_something).await?;
        Ok(newest.is_none_or(|newest| newest.id <= rollout.id))
    }

    /// Takes up again, after a restart of the daemon, the wait for old colours to be retired.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn resume_retirements(&self) -> Result<(), EngineError> {
        for service in self.crews().keys() {
            let newest = self.newest_that(service, did_something).await?;
            if let Some(last) = newest.filter(|last| last.outcome().is_some()) {
                self.retire_later(&last);
            }
        }
        Ok(())
    }
}

fn did_something(rollout: &Rollout) -> bool {
    !rollout.kind.is_upkeep() && !rollout.is_idle()
}
