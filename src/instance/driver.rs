//! The task that drives one instance: waits for what can happen, asks [`life::next`], does it.

use std::{
    collections::VecDeque,
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::OptionFuture;
use tokio::time::{Instant, sleep_until};

use super::{
    Command, Ground, InstanceError, Order, adoption,
    appetite::Appetite,
    body::{Left, Place},
    chart::Board,
    life::{self, Action, Event, Life, Policy, Question, Remedy, Rest, State, Timer},
    probe::Whom,
    probing::Probing,
    resting::Resting,
    saving::Saving,
    timers::Timers,
    view::{Death, Phase, View},
};
use crate::{
    config::{Service, Slots, Socket},
    ident::InstanceId,
    latest, mailbox,
    process::{self, Capture, Confined, Door, Exit, Tree},
    release::{Censor, Release},
    store::SlotRow,
};

/// What the start of a successor may take beyond its start deadline.
const SUCCESSION: Duration = Duration::from_secs(30);

/// Everything one instance is made of.
pub(super) struct Driver {
    pub(super) id: InstanceId,
    pub(super) service: Arc<Service>,
    pub(super) ground: Ground,
    pub(super) capture: Capture,
    /// Where it accepts, on a socket of the daemon's.
    pub(super) door: Option<Door>,
    /// What is durable of the slot; `None` before its first start.
    pub(super) row: Option<Arc<SlotRow>>,
    /// What the running generation is of.
    pub(super) runs: Option<Arc<SlotRow>>,
    pub(super) life: Life,
    pub(super) tree: Option<Tree>,
    /// One that has ended and is to be forgotten; not before its successor is there, which should not
    /// wait for that.
    pub(super) ended: Option<Box<Tree>>,
    pub(super) death: Option<Arc<Death>>,
    /// How the tree ended that was ended last.
    pub(super) exit: Option<Exit>,
    /// What holds of the confinement of the tree that runs.
    pub(super) confined: Confined,
    /// Hides what the running generation must not tell to everybody.
    pub(super) censor: Censor,
    pub(super) appetite: Appetite,
    pub(super) probing: Probing,
    pub(super) saving: Saving,
    pub(super) predecessor: Predecessor,
    timers: Timers,
    born: Instant,
    since: std::time::Instant,
    view: latest::Sender<View>,
}

/// What is known of what an earlier daemon left in the slot.
pub(super) enum Predecessor {
    /// It was taken over, or ended, or there was none.
    Settled,
    /// The kernel could not tell; why.
    Unknown(String),
}

/// What woke the driver.
enum Woken {
    Command(Option<Command>),
    Died(Exit),
    Timer(Timer),
    Probed(Event),
    /// It uses so many bytes of memory, and may use so many.
    Outgrown(u64, u64),
    Saved,
}

impl Driver {
    pub(super) fn new(
        id: InstanceId,
        service: Arc<Service>,
        row: Option<SlotRow>,
        ground: Ground,
        capture: Capture,
        door: Option<Door>,
    ) -> Self {
        let probing = Probing::new(&service, id.slot, door.clone());
        let mut driver = Self {
            view: latest::channel(View::unknown(id.clone())).0,
            id,
            service,
            ground,
            capture,
            door,
            runs: None,
            row: row.map(Arc::new),
            life: Life::default(),
            tree: None,
            ended: None,
            death: None,
            exit: None,
            confined: Confined::default(),
            censor: Censor::default(),
            appetite: Appetite::default(),
            probing,
            saving: Saving::default(),
            predecessor: Predecessor::Settled,
            timers: Timers::default(),
            born: Instant::now(),
            since: std::time::Instant::now(),
        };
        // What runs is found out by the task; until then whoever is meant to run is "starting".
        if let Some(row) = driver.row.as_ref().filter(|row| row.wanted) {
            driver.life.state = match Resting::read(row).map(|resting| resting.rest) {
                None => State::Spawning,
                Some(Rest::Finished) => State::Finished,
                Some(Rest::Failed) => State::Failed,
                Some(Rest::Stopped) => State::Stopped,
            };
        }
        driver.publish();
        driver.life = Life::default();
        driver
    }

    pub(super) fn subscribe(&self) -> latest::Receiver<View> {
        self.view.subscribe()
    }

    pub(super) fn board(&self) -> Board {
        self.probing.board()
    }

    /// Goes on where somebody else was shown.
    pub(super) fn shown_on(mut self, place: &Place) -> Self {
        place.view.send(self.view.borrow().clone());
        self.view = place.view.clone();
        self.probing.tell_on(place.board.clone());
        self
    }

    /// Takes `first`, then `orders`. What it does is boxed while it does it, so that one that waits is
    /// small.
    pub(super) async fn run(
        &mut self,
        orders: &mut mailbox::Receiver<Command>,
        first: Option<Command>,
    ) -> Left {
        if let Some(event) = Box::pin(self.find_predecessor(adoption::PATIENCE)).await {
            Box::pin(self.handle(event)).await;
        }
        Box::pin(self.take_up()).await;
        let mut first = first;
        loop {
            let woken = match first.take() {
                Some(first) => Woken::Command(Some(first)),
                None => self.wait(orders).await,
            };
            match woken {
                Woken::Command(None) => return Left::Alone,
                Woken::Command(Some(command)) if self.leaves_to_other(&command.0) => {
                    return Left::Other(command);
                }
                Woken::Command(Some(command)) => {
                    let (order, done) = *command;
                    let taken = Box::pin(self.take(order)).await;
                    // Whoever asked may have gone away meanwhile; the order stands.
                    let _ = done.send(taken);
                }
                Woken::Died(exit) => {
                    if let Some(generation) = life::running(self.life.state) {
                        self.note_exit(generation, exit).await;
                        Box::pin(self.handle(Event::Died(generation, exit.into()))).await;
                    }
                }
                Woken::Timer(timer) => {
                    self.timers.disarm(timer);
                    if timer == Timer::StartDeadline {
                        self.note_not_ready();
                    }
                    Box::pin(self.handle(Event::Elapsed(timer))).await;
                }
                Woken::Probed(event) => Box::pin(self.handle(event)).await,
                Woken::Outgrown(used, limit) => {
                    if let Some(generation) = life::running(self.life.state) {
                        self.note_outgrown(generation, used, limit);
                        Box::pin(self.handle(Event::Outgrown(generation))).await;
                    }
                }
                Woken::Saved => {}
            }
        }
    }

    async fn wait(&mut self, orders: &mut mailbox::Receiver<Command>) -> Woken {
        let timer = self.timers.next().map(|(timer, at)| async move {
            sleep_until(at).await;
            timer
        });
        let state = self.life.state;
        // The death of one that could not be ended is no news.
        let tree = self.tree.as_ref().filter(|_| life::running(state).is_some());
        let (probing, appetite, saving) = (&mut self.probing, &mut self.appetite, &mut self.saving);
        let (id, service, ground) = (&self.id, &self.service, &self.ground);
        let door = self.door.as_ref();
        let whom = self.runs.as_deref().map(|runs| Whom { id, service, ground, door, runs });
        let pids = || tree.map(Tree::pids).unwrap_or_default();
        let probed = probing.is_due(state).then(|| probing.next(state, whom, pids));
        let grown = tree.filter(|_| life::in_good_order(state).is_some());
        let outgrown = appetite.is_limited().then(|| appetite.outgrown(grown));
        let saved = saving.owes().then(|| saving.attempt(&ground.store));
        tokio::select! {
            biased;
            Some(exit) = OptionFuture::from(tree.map(Tree::exited)) => Woken::Died(exit),
            command = orders.recv() => Woken::Command(command),
            Some(timer) = seldom(timer) => Woken::Timer(timer),
            Some(event) = seldom(probed) => Woken::Probed(event),
            Some((used, limit)) = seldom(outgrown) => Woken::Outgrown(used, limit),
            Some(()) = seldom(saved) => Woken::Saved,
        }
    }

    async fn take(&mut self, order: Order) -> Result<(), InstanceError> {
        if matches!(self.predecessor, Predecessor::Unknown(_))
            && let Some(event) = self.find_predecessor(Duration::ZERO).await
        {
            self.handle(event).await;
        }
        match order {
            Order::Start { release, rollout } => {
                let intent = SlotRow {
                    instance: self.id.clone(),
                    wanted: true,
                    release: release.id.clone(),
                    directory: release.directory.display().to_string(),
                    rollout,
                    generation: self.row.as_ref().map(|r| r.generation).unwrap_or_default(),
                    // What runs, or ran last, is of another release.
                    identity: None,
                    rest: None,
                };
                self.write(self.until_spawned(&intent)).await?;
                self.row = Some(Arc::new(intent));
                self.death = None;
                self.handle(Event::Start).await;
            }
            Order::Stop => {
                if let Some(row) = self.row.clone() {
                    let row = SlotRow { wanted: false, rest: None, ..SlotRow::clone(&row) };
                    self.write(row).await?;
                }
                self.handle(Event::Stop).await;
            }
            Order::Forsake => self.handle(Event::Forsaken).await,
            Order::Halt => self.handle(Event::Stop).await,
            Order::Adapt(service) => self.adapt(service),
            Order::Forgive => self.forgive().await?,
            Order::Count(answer) => {
                let _ = answer.send(self.connections());
            }
            Order::Beside { .. } | Order::Face | Order::Dismiss => {
                return Err(InstanceError::OneSided(self.id.clone()));
            }
            Order::Signal(signal) => self.send(signal)?,
        }
        Ok(())
    }

    /// Established connections that its processes have.
    fn connections(&self) -> usize {
        let (Some(tree), Some(port)) = (&self.tree, self.id.slot.port()) else { return 0 };
        process::established_of(&tree.pids(), port).unwrap_or_else(|e| {
            tracing::warn!(instance = %self.id, "{e}");
            0
        })
    }

    /// What must be durable while `intent` waits for its spawn: what runs, as long as it does, so
    /// that a daemon that begins now adopts it as what it is.
    fn until_spawned(&self, intent: &SlotRow) -> SlotRow {
        match (&self.tree, &self.runs) {
            (Some(_), Some(runs)) => SlotRow { wanted: true, ..SlotRow::clone(runs) },
            _ => intent.clone(),
        }
    }

    /// Lets `event` take its course, with everything that follows from it at once.
    pub(super) async fn handle(&mut self, event: Event) {
        let service = Arc::clone(&self.service);
        let policy = Policy {
            startup: service.startup.as_ref().map(|check| check.thresholds),
            ready: &service.ready,
            live: service.live.as_ref().map(|check| check.thresholds),
            hung: remedy(&service, &self.id),
            stop: &service.stop,
            restart: &service.restart,
            now: self.born.elapsed(),
            jitter: draw(),
        };
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let before = self.life.state;
            let (life, actions) = life::next(self.life.clone(), event, &policy);
            self.life = life;
            let state = self.life.state;
            if before != state {
                if matches!(
                    event,
                    Event::Failed(Question::Live, _) | Event::Passed(Question::Live, _)
                ) {
                    self.note_pulse(before);
                }
                self.probing.state_changed(before, state);
            }
            if matches!((before, state), (State::Starting(_), State::Ready(_) | State::Unready(_)))
            {
                self.note_ready();
            }
            // What was found was told when it came about.
            if before != state && !matches!(event, Event::Found(_)) {
                self.tell(before);
                if Phase::from(before) != Phase::from(state) {
                    self.since = std::time::Instant::now();
                }
            }
            for action in actions {
                events.extend(self.perform(action).await);
            }
            self.publish();
        }
        if let Some(ended) = self.ended.take() {
            self.ground.shelf.remove_process(&self.id, &ended);
        }
    }

    async fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn => Some(self.spawn().await),
            Action::Terminate => {
                self.terminate();
                None
            }
            Action::End => self.end().await,
            Action::Arm(timer, after) => {
                self.timers.arm(timer, Instant::now() + after);
                None
            }
            Action::Disarm(timer) => {
                self.timers.disarm(timer);
                None
            }
            Action::Rest => {
                self.rest().await;
                None
            }
        }
    }

    pub(super) fn publish(&self) {
        let shown = self.runs.as_ref().or(self.row.as_ref());
        self.view.send(View {
            id: self.id.clone(),
            phase: self.life.state.into(),
            wanted: self.row.as_ref().is_some_and(|row| row.wanted),
            rest: self.row.as_deref().and_then(Resting::read).map(|resting| resting.rest),
            release: shown
                .map(|row| Release { id: row.release.clone(), directory: (&row.directory).into() }),
            rollout: shown.and_then(|row| row.rollout),
            generation: shown.map(|row| row.generation),
            identity: self.tree.as_ref().map(|tree| tree.identity().clone()),
            restarts: self.life.restarts,
            since: self.since,
            next_start: self.timers.due(Timer::Backoff).map(Instant::into_std),
            complaint: self.probing.complaint(),
            death: self.death.clone(),
            exit: self.exit,
            confined: self.tree.as_ref().map(|_| self.confined.clone()).unwrap_or_default(),
            workers: vec![],
            socket: if self.door.is_some() { Socket::Held } else { Socket::Own },
            beside: None,
        });
    }
}

/// What there seldom is to wait for is apart from whoever waits, who is small while there is none.
fn seldom<F: Future>(what: Option<F>) -> OptionFuture<Pin<Box<F>>> {
    what.map(Box::pin).into()
}

/// A service of two slots behind nginx starts the other one first, and on a held socket another
/// worker starts first; how long that may take.
fn remedy(service: &Service, id: &InstanceId) -> Remedy {
    match (service.slots, &service.upstream, id.worker) {
        (Slots::Two { .. }, Some(_), None) | (_, _, Some(_)) => {
            Remedy::Successor(service.ready.deadline + SUCCESSION)
        }
        _ => Remedy::Restart,
    }
}

/// A number in `0.0..1.0`; spreads restarts, guards nothing.
fn draw() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
