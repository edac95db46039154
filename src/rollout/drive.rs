//! The loop: observe the world, ask the plan, write the intent, perform it, begin again.
//!
//! A rollout that an earlier daemon left unfinished is driven on by the same loop.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{
    effects::Crew,
    engine::Engine,
    forecast,
    left::Told,
    plan::{self, Next},
    record::{Course, Outcome, Rollout, Step, now},
    way_out, words,
    world::World,
};
use crate::{effect_point, store::StoreError, sync_point};

/// A plan that takes more steps than this does not converge.
const STEP_LIMIT: usize = 200;
/// Time between two tries to write.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long the store may refuse writes (a full disk) before a rollout gives up.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

/// One rollout being driven.
pub(super) struct Drive {
    pub(super) engine: Engine,
    pub(super) rollout: Rollout,
    /// Shown to whoever follows it.
    pub(super) told: watch::Sender<Rollout>,
    /// Why it is to be turned back, once somebody asked.
    pub(super) cancelled: watch::Receiver<Option<String>>,
    /// Who lets it go on, once somebody does while it is held.
    pub(super) promoted: watch::Receiver<Option<String>>,
    /// The daemon is ending.
    pub(super) frozen: watch::Receiver<bool>,
}

impl Drive {
    /// Drives it to its end.
    pub(super) async fn run(mut self) -> Rollout {
        self.await_turn().await;
        let Ok(crew) = self.engine.crew(&self.rollout.service) else {
            return self.rollout;
        };
        while !*self.frozen.borrow() {
            self.heed_cancel();
            if let Some(outcome) = self.rollout.outcome() {
                return self.end(&crew, outcome).await;
            }
            let Some(world) = self.observe(&crew).await else { continue };
            self.foresee_undoing(&world);
            match plan::next_step(&self.rollout, &world) {
                Next::Do(step) => {
                    self.rollout.begin(&step, &world, now());
                    if self.save().await {
                        sync_point!("rollout.intent");
                        if is_decided(&step) {
                            let message = words::held(&self.rollout);
                            self.engine.record(&self.rollout, "rollout.held", message);
                        }
                        // Boxed, so that one that waits for the disk is small.
                        Box::pin(self.step(&crew, &step)).await;
                        sync_point!("rollout.effect");
                        if is_decided(&step) {
                            self.save().await;
                        }
                    }
                }
                Next::Advance => {
                    self.rollout.advance();
                    self.save().await;
                }
                Next::End(outcome) => return self.end(&crew, outcome).await,
            }
        }
        self.rollout
    }

    async fn end(mut self, crew: &Crew, outcome: Outcome) -> Rollout {
        if outcome == Outcome::Stuck
            && let Ok(world) = crew.observe().await
        {
            self.rollout.lead_out(&way_out::told(&self.rollout, &crew.service, &world));
        }
        self.rollout.clients = crew.counted(&self.rollout).await;
        self.rollout.end(outcome, now());
        let message = words::closing(&self.rollout);
        self.engine.record(&self.rollout, "rollout.ended", message);
        sync_point!("rollout.end");
        self.save_end().await;
        self.rollout
    }

    /// `None` when it could not be seen, which the rollout has taken for a failure.
    async fn observe(&mut self, crew: &Crew) -> Option<World> {
        if self.rollout.steps.len() > STEP_LIMIT {
            self.rollout.abandon("its plan does not converge; this is a mistake in aibk");
        }
        crew.observe().await.map_err(|e| self.rollout.fail(&e.to_string())).ok()
    }

    /// Says what there is to undo, before any of it is undone.
    fn foresee_undoing(&mut self, world: &World) {
        if self.rollout.course != Course::Back || self.rollout.undo.is_some() {
            return;
        }
        let steps = forecast::undoing(&self.rollout, world);
        let message = format!(
            "{} goes back: {}",
            words::name(&self.rollout),
            words::undoing(&self.rollout, &steps)
        );
        self.engine.record(&self.rollout, "rollout.turned", message);
        self.rollout.undo = Some(steps);
        self.rollout.revision += 1;
        self.told.send_replace(self.rollout.clone());
    }

    async fn step(&mut self, crew: &Crew, step: &Step) {
        let begun = Instant::now();
        let told = &self.told;
        let tell = |said: Told| {
            told.send_if_modified(|rollout| rollout.hear(said));
        };
        let rollout = self.rollout.clone();
        let mut cancelled = self.cancelled.clone();
        let turned_back = said(&mut cancelled);
        let mut frozen = self.frozen.clone();
        let mut promoted = self.promoted.clone();
        let perform =
            async { effect_point!("rollout.perform", crew.perform(step, &rollout, &tell).await) };
        let result = tokio::select! {
            biased;
            // Its intent is durable; the next daemon does it again.
            _ = frozen.wait_for(|frozen| *frozen), if waits(step) => return,
            why = turned_back, if waits(step) && rollout.can_turn_back() => Err(why),
            by = said(&mut promoted), if is_decided(step) => Ok(Some(format!("promoted by {by}"))),
            result = perform => result,
        };
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.rollout.catch_up(&self.told.borrow());
        let message = match &result {
            Ok(note) => format!("{}{}", words::step(&rollout, step), words::tail(note.as_deref())),
            Err(why) => format!("{} failed: {why}", words::step(&rollout, step)),
        };
        self.rollout.finish(result, took);
        self.engine.record(&self.rollout, "rollout.step", message);
        // An end is told once it is durable, and so is what an operator decided.
        if self.rollout.outcome().is_none() && !is_decided(step) {
            self.told.send_replace(self.rollout.clone());
        }
    }

    fn heed_cancel(&mut self) {
        let asked = self.cancelled.borrow().clone();
        if let Some(why) = asked
            && self.rollout.can_turn_back()
        {
            self.rollout.fail(&why);
        }
    }

    /// Makes the rollout durable, and shows it. Without that nothing is done (`S1`): a full disk is
    /// waited for, and then the rollout ends where it is.
    pub(super) async fn save(&mut self) -> bool {
        let deadline = Instant::now() + STORE_PATIENCE;
        while let Err(e) = self.engine.keep(&self.rollout).await {
            if Instant::now() > deadline {
                self.rollout.abandon(&format!("it cannot be written down: {e}"));
                return false;
            }
            self.wait_for_store(&e).await;
        }
        self.told.send_replace(self.rollout.clone());
        true
    }

    /// Makes the end durable, however long that takes: until then the service is held, for the next
    /// daemon would go on with what it finds. Where it takes long, the end is shown before.
    async fn save_end(&mut self) {
        while let Err(e) = self.engine.keep(&self.rollout).await {
            self.told.send_replace(self.rollout.clone());
            if *self.frozen.borrow() {
                return;
            }
            self.wait_for_store(&e).await;
        }
    }

    async fn wait_for_store(&mut self, error: &StoreError) {
        tracing::error!(rollout = %self.rollout.id, "waits to be written down: {error}");
        let _ = tokio::time::timeout(STORE_PAUSE, self.frozen.wait_for(|frozen| *frozen)).await;
    }
}

/// What somebody says, once they do.
pub(crate) async fn said(by: &mut watch::Receiver<Option<String>>) -> String {
    let said = by.wait_for(Option::is_some).await.map(|said| said.clone());
    match said {
        Ok(said) => said.unwrap_or_default(),
        Err(_) => std::future::pending().await,
    }
}

/// An operator decides how it ends.
const fn is_decided(step: &Step) -> bool {
    matches!(step, Step::Hold { .. })
}

/// Only waits are interrupted; an effect runs to its end and is undone then.
const fn waits(step: &Step) -> bool {
    // A replacement that is cut short is found as far as it got.
    matches!(
        step,
        Step::AwaitReady { .. }
            | Step::Watch { .. }
            | Step::Hold { .. }
            | Step::Drain { .. }
            | Step::Replace { .. }
    )
}
