//! Turning rollouts back.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    EngineError,
    engine::Engine,
    record::{Course, Outcome, Rollout},
};
use crate::ident::RolloutId;

/// How long a cancel waits to be heeded.
const HEED: Duration = Duration::from_secs(30);
const NO_RETURN: &str =
    "it is past its point of no return: nothing can be undone any more, and it goes on";
const NO_RETURN_ANY_MORE: &str =
    "it passed its point of no return first: nothing can be undone any more, and it goes on";

impl Engine {
    /// Turns a rollout back, and all that were asked for together with it: those whose turn has not
    /// come are not begun. What there is to undo is told by [`Rollout::undo`], unless an effect goes
    /// on for long that has to end before.
    ///
    /// # Errors
    /// When it is past its point of no return, on its way back, or over, and nothing waits behind it.
    pub async fn cancel(&self, id: RolloutId, by: &str) -> Result<Rollout, EngineError> {
        let asked = self.find(id).await?;
        let mut open = self.together(asked).await?;
        open.retain(|rollout| rollout.outcome().is_none());
        let (waiting, present): (Vec<_>, Vec<_>) = open.into_iter().partition(Rollout::is_idle);
        let refused = match present.first() {
            Some(present) => too_late(present).err(),
            None if waiting.is_empty() => Some("it has ended"),
            None => None,
        };
        if let Some(why) = refused.filter(|_| waiting.is_empty()) {
            return Err(EngineError::TooLate(id, why));
        }
        let alone = waiting.is_empty();
        let turned: Vec<Rollout> = waiting
            .into_iter()
            .rev()
            .chain(present.into_iter().filter(|_| refused.is_none()))
            .collect();
        // The last ones first: when the present one ends, nobody is left to begin.
        for rollout in &turned {
            if self.watch(rollout.id).is_none() {
                self.go_on(rollout.clone());
            }
            self.ask_back(&rollout.service, format!("cancelled by {by}"));
        }
        let mut heard = Ok(());
        for rollout in turned {
            heard = self.heeded(rollout).await;
        }
        // Where others wait, all that could be turned back was.
        match heard {
            Err(why) if alone => Err(EngineError::TooLate(id, why)),
            _ => self.find(id).await,
        }
    }

    /// Waits until a cancel was heeded, or it is seen that it came too late.
    async fn heeded(&self, rollout: Rollout) -> Result<(), &'static str> {
        let Some(mut seen) = self.watch(rollout.id) else {
            let ended = self.find(rollout.id).await.is_ok_and(|r| r.outcome().is_some());
            return if ended { Ok(()) } else { Err("its service is not configured any more") };
        };
        // An effect is finished before it is undone; it may also have been the last one.
        let decided = |r: &Rollout| match r.course {
            Course::Forward => r.committed,
            Course::Back => r.undo.is_some(),
            Course::Ended(_) => true,
        };
        let heeded = timeout(HEED, seen.wait_for(decided)).await;
        match heeded {
            Ok(Ok(now)) if now.outcome() == Some(Outcome::Done) => Err("it was done first"),
            Ok(Ok(now)) if now.committed && now.course == Course::Forward => {
                Err(NO_RETURN_ANY_MORE)
            }
            // It will be heeded after the effect that goes on.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn too_late(rollout: &Rollout) -> Result<(), &'static str> {
    match rollout.course {
        Course::Ended(_) => Err("it has ended"),
        Course::Back => Err("it is on its way back already"),
        Course::Forward if rollout.committed => Err(NO_RETURN),
        Course::Forward => Ok(()),
    }
}
