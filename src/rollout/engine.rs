//! The engine: observes the world, asks the plan, writes the intent, performs it, and begins again.
//!
//! A rollout that an earlier daemon left unfinished is driven on by the same loop.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    draft::{self, Draft, Refusal, Request},
    effects::Crew,
    plan::{self, Next},
    record::{Course, DOCUMENT, Kind, Rollout, Step},
    world::{Seen, World},
};
use crate::{
    ident::{RolloutId, ServiceName, Slot},
    nginx::NginxError,
    store::{self, RolloutRow, Store, StoreError},
};

/// A plan that takes more steps than this does not converge.
const STEP_LIMIT: usize = 200;
/// How long the store may refuse writes (a full disk) before a rollout gives up.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

/// Why a rollout was not begun, found, or cancelled.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such service.
    #[error("there is no service `{0}`")]
    NoService(ServiceName),
    /// No such rollout.
    #[error("there is no rollout {0}")]
    NoRollout(RolloutId),
    /// `S2`.
    #[error("{0}")]
    Busy(String),
    /// It would break an invariant.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is past its point of no return, or over.
    #[error("rollout {0} cannot be cancelled: {1}")]
    TooLate(RolloutId, &'static str),
    /// What nginx serves cannot be seen.
    #[error(transparent)]
    Nginx(#[from] NginxError),
    /// There is no release to bring up.
    #[error("{0}")]
    NoRelease(String),
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds of it cannot be understood (`S4`).
    #[error("rollout {0} in the store cannot be read: {1}")]
    Unreadable(RolloutId, String),
}

/// Runs rollouts, one per service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    crews: BTreeMap<ServiceName, Crew>,
    going: Mutex<BTreeMap<ServiceName, Going>>,
    /// One rollout begins at a time, so that what it is drafted upon stays true until it holds
    /// its service.
    beginning: tokio::sync::Mutex<()>,
}

/// A rollout under way.
#[derive(Debug, Clone)]
struct Going {
    rollout: watch::Receiver<Rollout>,
    cancel: watch::Sender<Option<String>>,
}

impl Engine {
    /// An engine for `crews`.
    #[must_use]
    pub fn new(store: Store, crews: BTreeMap<ServiceName, Crew>) -> Self {
        let shared = Shared {
            store,
            crews,
            going: Mutex::default(),
            beginning: tokio::sync::Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Every service, with its instances.
    #[must_use]
    pub fn crews(&self) -> &BTreeMap<ServiceName, Crew> {
        &self.shared.crews
    }

    /// The service's instances and nginx.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn crew(&self, service: &ServiceName) -> Result<&Crew, EngineError> {
        self.shared.crews.get(service).ok_or_else(|| EngineError::NoService(service.clone()))
    }

    /// Begins what `request` asks of `service`; its intent is durable when this returns.
    ///
    /// # Errors
    /// Refused, busy, or not to be written down; nothing has changed then.
    pub async fn begin(
        &self,
        service: &ServiceName,
        request: Request,
        by: String,
    ) -> Result<Rollout, EngineError> {
        let crew = self.crew(service)?;
        let _turn = self.shared.beginning.lock().await;
        if let Some(holder) = self.under_way(service) {
            return Err(EngineError::Busy(describe_holder(&holder)));
        }
        let world = observe(crew).await?;
        let draft = draft::draft(&request, &crew.service, &world)?;
        let rollout = self.write_down(service, request, draft, by).await?;
        self.drive(rollout.clone());
        Ok(rollout)
    }

    /// Like [`Engine::begin`], unless the service is there already.
    ///
    /// # Errors
    /// As [`Engine::begin`].
    pub async fn begin_if_needed(
        &self,
        service: &ServiceName,
        request: Request,
        by: String,
    ) -> Result<Option<Rollout>, EngineError> {
        let crew = self.crew(service)?;
        let world = observe(crew).await?;
        let draft = draft::draft(&request, &crew.service, &world)?;
        if draft.stages.iter().all(|stage| plan::is_reached(stage, &world)) {
            return Ok(None);
        }
        self.begin(service, request, by).await.map(Some)
    }

    async fn write_down(
        &self,
        service: &ServiceName,
        request: Request,
        draft: Draft,
        by: String,
    ) -> Result<Rollout, EngineError> {
        let blank = Rollout {
            document: DOCUMENT,
            id: RolloutId(0),
            service: service.clone(),
            kind: request.kind,
            slot: request.slot,
            release: draft.release,
            by,
            begun: now(),
            ended: None,
            loss: request.loss,
            origin: draft.origin,
            served: draft.served,
            stages: draft.stages,
            at: 0,
            watched: false,
            course: Course::Forward,
            // A boot has nothing to go back to.
            committed: request.kind == Kind::Boot,
            drained: BTreeSet::new(),
            exposed: BTreeSet::new(),
            stopped: BTreeSet::new(),
            steps: vec![],
            failure: None,
            revision: 0,
        };
        let with_id = blank.clone();
        let write = move |id| encode(&Rollout { id, ..with_id });
        let row = self.shared.store.begin_rollout(service.clone(), Box::new(write)).await?;
        let rollout = Rollout { id: row.id, ..blank };
        self.record(
            &rollout,
            "rollout.begun",
            format!("{} begun by {}", name(&rollout), rollout.by),
        );
        Ok(rollout)
    }

    /// Goes on with every rollout that has not ended.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version does not understand.
    pub async fn resume(&self) -> Result<(), EngineError> {
        for row in self.shared.store.rollouts(0).await? {
            let rollout = decode(&row)?;
            if self.shared.crews.contains_key(&rollout.service) {
                self.record(&rollout, "rollout.resumed", format!("{} goes on", name(&rollout)));
                self.drive(rollout);
            }
        }
        Ok(())
    }

    /// The rollout of `service` that is under way.
    #[must_use]
    pub fn under_way(&self, service: &ServiceName) -> Option<Rollout> {
        self.going().get(service).map(|going| going.rollout.borrow().clone())
    }

    /// A rollout under way, and its every change; `None` when it has ended.
    #[must_use]
    pub fn watch(&self, id: RolloutId) -> Option<watch::Receiver<Rollout>> {
        let going = self.going();
        going
            .values()
            .map(|going| &going.rollout)
            .find(|rollout| rollout.borrow().id == id)
            .cloned()
    }

    /// A rollout, ended or not.
    ///
    /// # Errors
    /// When there is none of this id, or it cannot be read.
    pub async fn find(&self, id: RolloutId) -> Result<Rollout, EngineError> {
        if let Some(rollout) = self.watch(id) {
            return Ok(rollout.borrow().clone());
        }
        let row = self.shared.store.rollout(id).await?.ok_or(EngineError::NoRollout(id))?;
        decode(&row)
    }

    /// The last `n` rollouts, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last(&self, n: usize) -> Result<Vec<Rollout>, EngineError> {
        let rows = self.shared.store.rollouts(n).await?;
        rows.iter().map(decode).collect()
    }

    /// Turns a rollout back.
    ///
    /// # Errors
    /// When it is past its point of no return, on its way back, or over.
    pub async fn cancel(&self, id: RolloutId, by: &str) -> Result<Rollout, EngineError> {
        let rollout = self.find(id).await?;
        match rollout.course {
            Course::Ended(_) => return Err(EngineError::TooLate(id, "it has ended")),
            Course::Back => return Err(EngineError::TooLate(id, "it is on its way back already")),
            Course::Forward if rollout.committed => {
                return Err(EngineError::TooLate(id, "it is past its point of no return"));
            }
            Course::Forward => {}
        }
        if let Some(going) = self.going().get(&rollout.service) {
            going.cancel.send_replace(Some(format!("cancelled by {by}")));
        }
        Ok(rollout)
    }

    fn drive(&self, rollout: Rollout) {
        let (told, seen) = watch::channel(rollout.clone());
        let (cancel, cancelled) = watch::channel(None);
        let service = rollout.service.clone();
        self.going().insert(service.clone(), Going { rollout: seen, cancel });
        let engine = self.clone();
        tokio::spawn(async move {
            let rollout = Drive { engine: engine.clone(), rollout, told, cancelled }.run().await;
            engine.going().remove(&service);
            engine.retire_later(&rollout);
        });
    }

    fn going(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, Going>> {
        self.shared.going.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self, rollout: &Rollout, kind: &str, message: String) {
        self.shared.store.record(store::Event {
            kind: kind.to_owned(),
            service: Some(rollout.service.to_string()),
            rollout: Some(rollout.id.0),
            message,
            ..store::Event::default()
        });
    }
}

/// One rollout being driven.
struct Drive {
    engine: Engine,
    rollout: Rollout,
    told: watch::Sender<Rollout>,
    cancelled: watch::Receiver<Option<String>>,
}

impl Drive {
    async fn run(mut self) -> Rollout {
        let Some(crew) = self.engine.shared.crews.get(&self.rollout.service).cloned() else {
            return self.rollout;
        };
        loop {
            self.heed_cancel();
            match self.next(&crew).await {
                Next::Do(step) => {
                    self.rollout.begin(&step, now());
                    if self.save().await {
                        self.step(&crew, &step).await;
                    }
                }
                // Whatever follows makes it durable; a daemon that dies before sees the same world,
                // and advances again.
                Next::Advance => self.rollout.advance(),
                Next::End(outcome) => {
                    self.rollout.end(outcome, now());
                    let message = closing(&self.rollout);
                    self.engine.record(&self.rollout, "rollout.ended", message);
                    self.save().await;
                    return self.rollout;
                }
            }
        }
    }

    async fn next(&mut self, crew: &Crew) -> Next {
        if self.rollout.steps.len() > STEP_LIMIT {
            self.rollout.committed = true;
            self.rollout.fail("its plan does not converge; this is a mistake in aibk");
        }
        match observe(crew).await {
            Ok(world) => plan::next_step(&self.rollout, &world),
            Err(e) => {
                self.rollout.fail(&e.to_string());
                match self.rollout.course {
                    Course::Ended(outcome) => Next::End(outcome),
                    // The way back needs to see, too: one more look decides.
                    Course::Forward | Course::Back => match observe(crew).await {
                        Ok(world) => plan::next_step(&self.rollout, &world),
                        Err(_) => Next::End(super::record::Outcome::Stuck),
                    },
                }
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
            Ok(note) => format!("{}{}", describe(&rollout, step), tail(note.as_deref())),
            Err(why) => format!("{} failed: {why}", describe(&rollout, step)),
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
            match self.engine.shared.store.put_rollout(row(&self.rollout)).await {
                Ok(()) => {
                    self.told.send_replace(self.rollout.clone());
                    return true;
                }
                Err(e) if Instant::now() > deadline || self.rollout.outcome().is_some() => {
                    tracing::error!(rollout = %self.rollout.id, "cannot be written down: {e}");
                    self.rollout.committed = true;
                    self.rollout.fail(&format!("it cannot be written down: {e}"));
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

/// Looks at every slot, and asks nginx what it serves (`S3`). Where nginx does not answer, the file
/// it will start with stands for it.
async fn observe(crew: &Crew) -> Result<World, EngineError> {
    let slots: BTreeMap<Slot, Seen> = crew
        .instances
        .iter()
        .map(|(slot, instance)| {
            let view = instance.view();
            let seen = Seen {
                phase: view.phase,
                wanted: view.wanted,
                release: view.release,
                generation: view.generation,
                rollout: view.rollout,
            };
            (*slot, seen)
        })
        .collect();
    let Some(nginx) = &crew.nginx else { return Ok(World { slots, members: None }) };
    let served = match nginx.observe().await {
        Ok(observed) => observed.served,
        Err(_) => nginx.on_disk()?.unwrap_or_default(),
    };
    let members = served.upstreams.get(&crew.service.name).cloned().unwrap_or_default();
    Ok(World { slots, members: Some(members) })
}

fn describe_holder(holder: &Rollout) -> String {
    let age = now().saturating_sub(holder.begun) / 1_000_000;
    let step = holder
        .steps
        .last()
        .map_or_else(String::new, |taken| format!(", at step `{}`", describe(holder, &taken.step)));
    format!("{} is under way, begun {age} s ago by {}{step}", name(holder), holder.by)
}

fn closing(rollout: &Rollout) -> String {
    use super::record::Outcome;
    let what = name(rollout);
    let why = rollout.failure.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    match rollout.outcome() {
        Some(Outcome::Done) | None => format!("{what} is done"),
        Some(Outcome::Undone) => format!("{what} failed and was undone{why}"),
        Some(Outcome::Stuck) => format!("{what} failed and is stuck{why}"),
    }
}

fn name(rollout: &Rollout) -> String {
    format!("rollout {} ({} of {})", rollout.id, rollout.kind.word(), rollout.service)
}

fn describe(rollout: &Rollout, step: &Step) -> String {
    format!("{} {}", step.word(), step.subject(&rollout.service))
}

fn tail(note: Option<&str>) -> String {
    note.map(|note| format!(": {note}")).unwrap_or_default()
}

fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

fn row(rollout: &Rollout) -> RolloutRow {
    RolloutRow {
        id: rollout.id,
        service: rollout.service.clone(),
        document: encode(rollout),
        ended: rollout.outcome().is_some(),
    }
}

fn encode(rollout: &Rollout) -> String {
    // A rollout is maps with text keys, lists, text and numbers: it always has a JSON form.
    serde_json::to_string(rollout).unwrap_or_default()
}

fn decode(row: &RolloutRow) -> Result<Rollout, EngineError> {
    serde_json::from_str(&row.document).map_err(|e| EngineError::Unreadable(row.id, e.to_string()))
}
