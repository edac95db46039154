//! The loop: observe the world, ask the plan, write the intent, perform it, begin again.
//!
//! A rollout that an earlier daemon left unfinished is driven on by the same loop.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{
    effects::Crew,
    engine::Engine,
    plan::{self, Next},
    record::{Course, Rollout, Step, now},
    words,
};
use crate::sync_point;

/// A plan that takes more steps than this does not converge.
const STEP_LIMIT: usize = 200;
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
}

impl Drive {
    /// Drives it to its end.
    pub(super) async fn run(mut self) -> Rollout {
        let Ok(crew) = self.engine.crew(&self.rollout.service).cloned() else {
            return self.rollout;
        };
        loop {
            self.heed_cancel();
            match self.next(&crew).await {
                None => {}
                Some(Next::Do(step)) => {
                    self.rollout.begin(&step, now());
                    if self.save().await {
                        sync_point!("rollout.intent");
                        self.step(&crew, &step).await;
                        sync_point!("rollout.effect");
                    }
                }
                Some(Next::Advance) => {
                    self.rollout.advance();
                    self.save().await;
                }
                Some(Next::End(outcome)) => {
                    self.rollout.end(outcome, now());
                    let message = words::closing(&self.rollout);
                    self.engine.record(&self.rollout, "rollout.ended", message);
                    sync_point!("rollout.end");
                    self.save().await;
                    return self.rollout;
                }
            }
        }
    }

    /// `None` when that could not be told, which the rollout has taken for a failure.
    async fn next(&mut self, crew: &Crew) -> Option<Next> {
        if self.rollout.steps.len() > STEP_LIMIT {
            self.rollout.abandon("its plan does not converge; this is a mistake in aibk");
        }
        match crew.observe().await {
            Ok(world) => Some(plan::next_step(&self.rollout, &world)),
            Err(e) => {
                self.rollout.fail(&e.to_string());
                self.rollout.outcome().map(Next::End)
            }
        }
    }

    async fn step(&mut self, crew: &Crew, step: &Step) {
        let begun = Instant::now();
        let told = &self.told;
        let tell = |note: String| {
            told.send_if_modified(|rollout| match rollout.steps.last_mut() {
                Some(taken) if taken.note.as_ref() != Some(&note) => {
                    taken.note = Some(note);
                    rollout.revision += 1;
                    true
                }
                _ => false,
            });
        };
        let rollout = self.rollout.clone();
        let mut cancelled = self.cancelled.clone();
        let turned_back = async {
            let why = cancelled.wait_for(Option::is_some).await.map(|why| why.clone());
            match why {
                Ok(why) => why.unwrap_or_default(),
                Err(_) => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            biased;
            why = turned_back, if may_be_interrupted(step, &rollout) => Err(why),
            result = crew.perform(step, &rollout, &tell) => result,
        };
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.rollout.revision = self.rollout.revision.max(self.told.borrow().revision);
        let message = match &result {
            Ok(note) => format!("{}{}", words::step(&rollout, step), words::tail(note.as_deref())),
            Err(why) => format!("{} failed: {why}", words::step(&rollout, step)),
        };
        self.rollout.finish(result, took);
        self.engine.record(&self.rollout, "rollout.step", message);
        self.told.send_replace(self.rollout.clone());
    }

    fn heed_cancel(&mut self) {
        let asked = self.cancelled.borrow().clone();
        if let Some(why) = asked
            && self.rollout.course == Course::Forward
            && !self.rollout.committed
        {
            self.rollout.fail(&why);
        }
    }

    /// Makes the rollout durable, and shows it. Without that nothing is done (`S1`): a full disk is
    /// waited for, and then the rollout is left as it is for a later daemon.
    async fn save(&mut self) -> bool {
        let deadline = Instant::now() + STORE_PATIENCE;
        loop {
            match self.engine.keep(&self.rollout).await {
                Ok(()) => {
                    self.told.send_replace(self.rollout.clone());
                    return true;
                }
                Err(e) if Instant::now() > deadline || self.rollout.outcome().is_some() => {
                    tracing::error!(rollout = %self.rollout.id, "cannot be written down: {e}");
                    self.rollout.abandon(&format!("it cannot be written down: {e}"));
                    self.told.send_replace(self.rollout.clone());
                    return false;
                }
                Err(e) => {
                    tracing::warn!(rollout = %self.rollout.id, "waits for the store: {e}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// Only waits are interrupted; an effect runs to its end and is undone then.
fn may_be_interrupted(step: &Step, rollout: &Rollout) -> bool {
    let waits = matches!(step, Step::AwaitReady { .. } | Step::Watch { .. } | Step::Drain { .. });
    waits && rollout.course == Course::Forward && !rollout.committed
}
