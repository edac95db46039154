//! The loop: observe the world, ask the plan, write the intent, perform it, begin again.
//!
//! A deploy that an earlier daemon left unfinished is driven on by the same loop.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{
    engine::{Engine, now},
    hands::Hands,
    plan::{self, Next, World},
    record::{Course, Deploy, Harm, Outcome, Step, Told},
    words,
};
use crate::{effect_point, rollout::said, store::StoreError, sync_point};

/// A plan that takes more steps than this does not converge.
const STEP_LIMIT: usize = 50;
/// Time between two tries to write.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long the store may refuse writes (a full disk) before a deploy gives up.
const STORE_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may be unclear what there is before a deploy takes that for a failure, and the time
/// between two looks.
const SIGHT_PATIENCE: Duration = Duration::from_secs(30);
const SIGHT_PAUSE: Duration = Duration::from_secs(1);

/// One deploy being driven.
pub(super) struct Drive {
    pub(super) engine: Engine,
    pub(super) hands: Hands,
    pub(super) deploy: Deploy,
    /// Shown to whoever follows it.
    pub(super) told: watch::Sender<Deploy>,
    /// Who asked to turn it back, once somebody did.
    pub(super) cancelled: watch::Receiver<Option<String>>,
    /// The daemon is ending.
    pub(super) frozen: watch::Receiver<bool>,
}

impl Drive {
    /// Drives it to its end.
    pub(super) async fn run(mut self) -> Deploy {
        while !*self.frozen.borrow() {
            self.heed_cancel();
            if let Some(outcome) = self.deploy.outcome() {
                return self.end(outcome).await;
            }
            let Some(world) = self.observe().await else { continue };
            match plan::next_step(&self.deploy, &world) {
                Next::Do(step) => {
                    self.deploy.begin(step, now());
                    if self.save().await {
                        sync_point!("deploy.intent");
                        Box::pin(self.step(step, &world)).await;
                        sync_point!("deploy.effect");
                    }
                }
                Next::End(outcome) => return self.end(outcome).await,
            }
        }
        self.deploy
    }

    async fn end(mut self, outcome: Outcome) -> Deploy {
        // While no other one may build.
        if outcome != Outcome::Done
            && let Err(e) = self.hands.workshop().clear_up().await
        {
            tracing::warn!("what was begun of a release stays until the next deploy: {e}");
        }
        self.deploy.end(outcome, now());
        self.engine.record(&self.deploy, "deploy.ended", words::closing(&self.deploy));
        sync_point!("deploy.end");
        while let Err(e) = self.engine.keep(&self.deploy).await {
            self.told.send_replace(self.deploy.clone());
            if *self.frozen.borrow() {
                return self.deploy;
            }
            self.wait_for_store(&e).await;
        }
        if let Some(upload) = self.deploy.upload()
            && let Err(e) = self.hands.workshop().forget_upload(upload.id).await
        {
            // The next daemon tries again.
            tracing::warn!("an archive that was sent stays: {e}");
        }
        self.deploy
    }

    /// `None` when it could not be seen, which the deploy has taken for a failure.
    async fn observe(&mut self) -> Option<World> {
        if self.deploy.steps.len() > STEP_LIMIT {
            let why = "its plan does not converge; this is a mistake in aibk";
            self.deploy.fail(why, Harm::Left);
        }
        let deadline = Instant::now() + SIGHT_PATIENCE;
        loop {
            let services = self.deploy.services.iter();
            match self.hands.observe(services, self.deploy.release.as_ref()).await {
                Ok(world) => return Some(world),
                Err(_) if *self.frozen.borrow() => return None,
                Err(e) if Instant::now() > deadline => {
                    self.deploy.fail(&e.to_string(), Harm::None);
                    return None;
                }
                Err(e) => tracing::warn!(deploy = %self.deploy.id, "looks again: {e}"),
            }
            self.pause(SIGHT_PAUSE).await;
        }
    }

    async fn step(&mut self, step: Step, world: &World) {
        let begun = Instant::now();
        let told = &self.told;
        let tell = |said: Told| {
            told.send_if_modified(|deploy| deploy.hear(said));
        };
        let deploy = self.deploy.clone();
        let (mut frozen, mut cancelled) = (self.frozen.clone(), self.cancelled.clone());
        let perform = async {
            effect_point!("deploy.perform", self.hands.perform(step, &deploy, world, &tell).await)
        };
        let turned_back = async {
            let by = said(&mut cancelled).await;
            if step == Step::RollOut {
                let rollouts = told.borrow().rollouts.clone();
                self.hands.turn_back(rollouts, &by).await;
                // What they have done they undo by themselves, and so the step ends.
                std::future::pending::<()>().await;
            }
            words::cancelled(&by)
        };
        let came = tokio::select! {
            biased;
            // Its intent is durable; the next daemon does it again.
            _ = frozen.wait_for(|frozen| *frozen), if step.is_left() => return,
            why = turned_back, if deploy.can_turn_back() => Err(why.into()),
            came = perform => came,
        };
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.deploy.rollouts.clone_from(&self.told.borrow().rollouts);
        self.deploy.revision = self.told.borrow().revision;
        let message = match &came {
            Ok(off) => format!("{}{}", step.word(), tail(off.note.as_deref())),
            Err(setback) => format!("{} failed: {}", step.word(), setback.why),
        };
        self.deploy.finish(came, took);
        self.engine.record(&self.deploy, "deploy.step", message);
        // An end is told once it is durable.
        if self.deploy.outcome().is_none() {
            self.told.send_replace(self.deploy.clone());
        }
    }

    fn heed_cancel(&mut self) {
        let asked = self.cancelled.borrow().clone();
        if let Some(by) = asked
            && self.deploy.can_turn_back()
        {
            self.deploy.fail(&words::cancelled(&by), Harm::None);
        }
    }

    /// Makes the deploy durable, and shows it. Without that nothing is done (`S1`): a full disk is
    /// waited for, and then the deploy ends where it is.
    async fn save(&mut self) -> bool {
        let deadline = Instant::now() + STORE_PATIENCE;
        while let Err(e) = self.engine.keep(&self.deploy).await {
            if Instant::now() > deadline {
                self.deploy.course = Course::Ended(Outcome::Stuck);
                self.deploy.failure = Some(format!("it cannot be written down: {e}"));
                return false;
            }
            self.wait_for_store(&e).await;
        }
        self.told.send_replace(self.deploy.clone());
        true
    }

    async fn wait_for_store(&mut self, error: &StoreError) {
        tracing::error!(deploy = %self.deploy.id, "waits to be written down: {error}");
        self.pause(STORE_PAUSE).await;
    }

    /// Not longer than the daemon is there.
    async fn pause(&mut self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.frozen.wait_for(|frozen| *frozen)).await;
    }
}

/// A note behind something.
fn tail(note: Option<&str>) -> String {
    note.map(|note| format!(": {note}")).unwrap_or_default()
}

impl Step {
    /// It is left where it is when the daemon ends: what it has done so far does no harm.
    const fn is_left(self) -> bool {
        !matches!(self, Self::Migrate)
    }
}
