//! A swap that is held: the new colour is ready, clients do not see it, and an operator decides.

use std::{net::SocketAddr, time::Duration};

use super::{
    EngineError,
    draft::Refusal,
    effects::{Crew, Result},
    engine::Engine,
    left::{Tell, Told},
    record::{Course, Rollout, Step, Taken, now},
};
use crate::{
    ident::{ServiceName, Slot},
    instance::{Phase, View},
    latest,
};
use serde::{Deserialize, Serialize};

/// How long a promotion waits to be heeded.
const HEED: Duration = Duration::from_secs(30);

/// On what terms a rollout is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// What is tried out.
    pub slot: Slot,
    /// Where.
    pub address: SocketAddr,
    /// For how long, in milliseconds; then it goes back.
    pub most_ms: u64,
}

impl Preview {
    /// The end of it, in microseconds since the epoch, where it began at `since`.
    #[must_use]
    pub fn until(&self, since: i64) -> i64 {
        let most = i64::try_from(self.most_ms).unwrap_or(i64::MAX);
        since.saturating_add(most.saturating_mul(1000))
    }
}

impl Rollout {
    /// On what terms it is held now, and until when, in microseconds since the epoch.
    #[must_use]
    pub fn held(&self) -> Option<(&Preview, i64)> {
        let waits = |taken: &Taken| {
            matches!(taken.step, Step::Hold { .. }) && taken.took_ms.is_none() && !taken.failed
        };
        let held = self.course == Course::Forward && self.steps.last().is_some_and(waits);
        self.preview.as_ref().filter(|_| held).map(|preview| (preview, self.hold_ends(preview)))
    }

    /// Counted from the first time that it was held: a daemon that died meanwhile adds nothing.
    fn hold_ends(&self, preview: &Preview) -> i64 {
        let first = self.steps.iter().find(|taken| matches!(taken.step, Step::Hold { .. }));
        preview.until(first.map_or_else(now, |taken| taken.begun))
    }
}

impl Crew {
    /// Returns only with the reason not to go on: its time is over, or what is tried out is gone.
    pub(super) async fn hold(&self, slot: Slot, rollout: &Rollout, tell: Tell<'_>) -> Result {
        let Some(preview) = &rollout.preview else {
            return Err("it is not known for how long it is held".to_owned());
        };
        let what_next = format!("try it at http://{}/, then promote or abort it", preview.address);
        tell(Told::Note(what_next));
        let left = rollout.hold_ends(preview).saturating_sub(now());
        let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        let most = Duration::from_millis(preview.most_ms);
        let instance = self.instance(slot)?;
        tokio::select! {
            biased;
            view = gone(instance.watch()) => Err(match view.death {
                Some(death) => format!("while held, {}", death.of(&view.id)),
                None => format!("{} became {} while held", view.id, view.phase.word()),
            }),
            () = tokio::time::sleep(left) => {
                Err(format!("nobody promoted it within {most:?} (`rollout.hold`)"))
            }
        }
    }
}

/// Waits until the instance is not the one that was there, or none. Whether it is ready decides once
/// it is promoted: what it depends on may come and go meanwhile.
async fn gone(mut view: latest::Receiver<View>) -> View {
    let first = view.borrow().generation;
    let stays = |view: &View| {
        let is_up = matches!(view.phase, Phase::Starting | Phase::Ready | Phase::Unready);
        view.generation == first && is_up
    };
    let changed = view.wait_for(|view| !stays(view)).await.map(|view| view.clone());
    match changed {
        Ok(view) => view,
        // The daemon is ending; its successor holds on.
        Err(_) => std::future::pending().await,
    }
}

impl Engine {
    /// Lets the rollout of `service` that is held go on, once that is durable.
    ///
    /// # Errors
    /// When none of it is held, or it ended just then.
    pub async fn promote(&self, service: &ServiceName, by: &str) -> Outcome {
        let held = self.held(service)?;
        let Some(mut seen) = self.watch_of(service, held.id) else { return Ok(held) };
        self.tell_promoted(service, by);
        let decided = |rollout: &Rollout| {
            rollout.course != Course::Forward || rollout.watched || rollout.at > held.at
        };
        match tokio::time::timeout(HEED, seen.wait_for(decided)).await {
            Ok(Ok(now)) if now.course == Course::Back => {
                let why = now.failure.clone().unwrap_or_default();
                Err(Refusal::NotHeld(service.clone(), format!("it goes back already: {why}"))
                    .into())
            }
            Ok(Ok(now)) => Ok(now.clone()),
            Ok(Err(_)) | Err(_) => Ok(held),
        }
    }

    /// Turns the rollout of `service` that is held back.
    ///
    /// # Errors
    /// When none of it is held, or as [`Engine::cancel`].
    pub async fn abort(&self, service: &ServiceName, by: &str) -> Outcome {
        let held = self.held(service)?;
        self.cancel(held.id, by).await
    }

    fn held(&self, service: &ServiceName) -> Outcome {
        self.crew(service)?;
        let why = match self.under_way(service) {
            Some(rollout) if rollout.held().is_some() => return Ok(rollout),
            Some(rollout) => format!("rollout {} is not there yet, or goes on", rollout.id),
            None => "no rollout is under way".to_owned(),
        };
        Err(Refusal::NotHeld(service.clone(), why).into())
    }
}

type Outcome = std::result::Result<Rollout, EngineError>;
