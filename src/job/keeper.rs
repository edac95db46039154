//! The task that keeps one job: begins its runs, sees their ends, and writes both down.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Gate, JobError, Order, View,
    due::{self, Due},
    verdict::{self, Patience},
};
use crate::{
    config::{self, Service},
    instance::{self, Instance, Phase},
    release::Release,
    store::{self, NewRun, RunEnd, RunRow, Store},
    sys::wall_clock,
};

/// How long it may take to find out whether a run of an earlier daemon goes on.
const LOOK: Duration = Duration::from_secs(30);
/// Between two tries of what the store or the kernel refused.
const AGAIN: Duration = Duration::from_secs(30);
/// How often it is tried to write down the end of a run, and the time between two tries.
const WRITES: (u32, Duration) = (5, Duration::from_secs(2));
/// What a scheduled run is told to be for.
const BY_SCHEDULE: &str = "its schedule";

/// Everything one job is made of.
pub(super) struct Keeper {
    service: Arc<Service>,
    job: config::Job,
    instance: Instance,
    /// What the instance goes by; a run ends by what it began with.
    run_by: Arc<Service>,
    store: Store,
    seed: u64,
    state: State,
    last: Option<RunRow>,
    /// Of the run that goes on.
    patience: Patience,
    timeout: Duration,
    deadline: Instant,
    /// The schedule was dealt with up to here.
    dealt: Timestamp,
    next: Option<Due>,
    /// The next look at the schedule is not before.
    rest: Instant,
    tell: watch::Sender<View>,
}

/// Whether runs may begin.
enum State {
    /// Only those that are asked for.
    Resting,
    /// By the schedule too.
    Open(Gate),
    /// None, for the job is not configured any more.
    Leaving,
    /// None.
    Closed,
}

/// What woke the keeper.
enum Woken {
    Ended(Box<instance::View>),
    Order(Option<Order>),
    Late,
    Clock,
}

impl Keeper {
    pub(super) fn new(
        service: Arc<Service>,
        job: config::Job,
        instance: Instance,
        store: Store,
        tell: watch::Sender<View>,
    ) -> Self {
        let now = Instant::now();
        Self {
            seed: seed(&service),
            run_by: Arc::clone(&service),
            timeout: job.timeout,
            service,
            job,
            instance,
            store,
            state: State::Resting,
            last: None,
            patience: Patience::Left,
            deadline: now,
            dealt: Timestamp::now(),
            next: None,
            rest: now,
            tell,
        }
    }

    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        self.take_over().await;
        loop {
            self.publish();
            match self.wait(&mut orders).await {
                Woken::Order(None) => return,
                Woken::Order(Some(Order::Open(gate))) => self.turn(State::Open(gate)),
                Woken::Order(Some(Order::Rest)) => self.turn(State::Resting),
                Woken::Order(Some(Order::Leave)) => self.turn(State::Leaving),
                Woken::Order(Some(Order::Close)) => self.state = State::Closed,
                Woken::Order(Some(Order::Adapt(service, job))) => self.adapt(service, job).await,
                Woken::Order(Some(Order::Run { cause, done })) => {
                    let begun = self.asked(cause).await;
                    // Whoever asked may have gone away meanwhile; the run goes on.
                    let _ = done.send(begun);
                }
                Woken::Order(Some(Order::Stop { by, done })) => {
                    let stopping = self.stop(by).await;
                    let _ = done.send(stopping);
                }
                Woken::Ended(view) => {
                    self.end(verdict::of(&view, &self.patience, Timestamp::now())).await;
                }
                Woken::Late => self.give_up().await,
                Woken::Clock => self.look_at_clock().await,
            }
            self.plan();
        }
    }

    /// Who was closed stays closed.
    fn turn(&mut self, to: State) {
        if !matches!(self.state, State::Closed) {
            self.state = to;
        }
    }

    /// Goes by another definition. A run under way ends by the old one, and what lies behind was never
    /// due by a new schedule.
    async fn adapt(&mut self, service: Arc<Service>, job: config::Job) {
        let is_back = matches!(self.state, State::Leaving);
        let anew = is_back || self.job.schedule != job.schedule;
        (self.service, self.job) = (service, job);
        if is_back {
            self.state = State::Resting;
        }
        if anew && self.job.schedule.is_some() {
            self.dealt = Timestamp::now();
            if let Err(e) = self.store.deal(&self.service.name, self.dealt).await {
                tracing::error!(job = %self.service.name, "its schedule counts from now on: {e}");
            }
        }
    }

    async fn wait(&self, orders: &mut mpsc::Receiver<Order>) -> Woken {
        let runs = self.running().is_some();
        tokio::select! {
            biased;
            view = end_of(&self.instance), if runs => Woken::Ended(Box::new(view)),
            order = orders.recv() => Woken::Order(order),
            () = sleep_until(self.deadline), if runs && self.patience == Patience::Left => Woken::Late,
            () = self.clock() => Woken::Clock,
        }
    }

    /// Waits until the next run may be due.
    async fn clock(&self) {
        let Some(due) = &self.next else { return std::future::pending().await };
        sleep_until(self.rest).await;
        if let Err(e) = wall_clock::reach(due.start).await {
            tracing::warn!(job = %self.service.name, "cannot wait for its time: {e}");
            sleep(AGAIN).await;
        }
    }

    /// What an earlier daemon left: a run that goes on, one whose end nobody saw, a schedule.
    async fn take_over(&mut self) {
        let looked =
            |view: &instance::View| view.identity.is_some() || view.phase != Phase::Starting;
        let view = self.instance.until(LOOK, looked).await.unwrap_or_else(|_| self.instance.view());
        let name = &self.service.name;
        match self.store.runs(name, 1).await {
            Ok(runs) => {
                self.last = runs.into_iter().next();
                // What lives and is no run was kept running, by an earlier configuration.
                if self.running().is_none()
                    && view.phase.is_up()
                    && let Err(e) = self.instance.stop().await
                {
                    tracing::error!("{e}");
                }
            }
            Err(e) => tracing::error!(job = %name, "its runs cannot be read: {e}"),
        }
        if self.running().is_some() {
            match view.identity.filter(|_| view.phase.is_up()) {
                Some(who) => {
                    let left = self.job.timeout.saturating_sub(who.uptime());
                    self.deadline = Instant::now() + left;
                }
                None => self.end(verdict::unseen(Timestamp::now())).await,
            }
        }
        if self.job.schedule.is_some() {
            self.find_dealt().await;
        }
    }

    /// A schedule counts from when it was first seen: nothing was missed before.
    async fn find_dealt(&mut self) {
        let name = &self.service.name;
        let found = match self.store.dealt(name).await {
            Ok(Some(dealt)) => {
                self.dealt = dealt;
                Ok(())
            }
            Ok(None) => self.store.deal(name, self.dealt).await,
            Err(e) => Err(e),
        };
        if let Err(e) = found {
            tracing::error!(job = %name, "its schedule counts from now on: {e}");
        }
    }

    /// Looks when the next run is due.
    fn plan(&mut self) {
        let (State::Open(_), Some(schedule)) = (&self.state, &self.job.schedule) else {
            self.next = None;
            return;
        };
        let now = Timestamp::now();
        self.next = due::next(schedule, self.job.jitter, self.seed, self.dealt, now);
    }

    async fn look_at_clock(&mut self) {
        // It may have been set meanwhile.
        self.plan();
        let Some(due) = self.next.filter(|due| due.start <= Timestamp::now()) else { return };
        let done = match self.running().cloned() {
            Some(other) => self.skip(due, &other).await,
            None => self.begin_due(due).await,
        };
        if let Err(e) = done {
            self.rest = Instant::now() + AGAIN;
            tracing::error!("{e}");
        }
    }

    async fn skip(&mut self, due: Due, other: &RunRow) -> Result<(), JobError> {
        let name = self.service.name.clone();
        let written = self.store.deal(&name, due.moment).await;
        written.map_err(|e| JobError::Store(name.clone(), e))?;
        self.dealt = due.moment;
        let message = format!(
            "{name} is due, but run {} of it goes on since {:.0}; this time is left out",
            other.id, other.begun
        );
        self.record("job.skipped", message);
        Ok(())
    }

    async fn begin_due(&mut self, due: Due) -> Result<(), JobError> {
        if due.missed {
            let name = &self.service.name;
            let message = format!("{name} was not run at {:.0}, and is now", due.moment);
            self.record("job.missed", message);
        }
        let lacks = match &self.state {
            State::Open(gate) => gate(),
            State::Resting | State::Leaving | State::Closed => None,
        };
        self.begin(BY_SCHEDULE.to_owned(), Some(due.moment), lacks).await.map(drop)
    }

    async fn asked(&mut self, cause: String) -> Result<RunRow, JobError> {
        let name = &self.service.name;
        match self.state {
            State::Closed => return Err(JobError::Ending(name.clone())),
            State::Leaving => return Err(JobError::Leaving(name.clone())),
            State::Resting | State::Open(_) => {}
        }
        if let Some(other) = self.running() {
            let (run, since) = (other.id, other.begun);
            return Err(JobError::Busy { job: name.clone(), run, since });
        }
        self.begin(cause, None, None).await
    }

    /// Writes down that a run begins, then begins it (`S1`). What keeps it from being started is
    /// how it ends.
    async fn begin(
        &mut self,
        cause: String,
        scheduled: Option<Timestamp>,
        lacks: Option<String>,
    ) -> Result<RunRow, JobError> {
        let name = self.service.name.clone();
        let message = format!("{name} runs: {cause}");
        let new = NewRun { job: (&name).into(), cause, scheduled, begun: Timestamp::now() };
        let begun = self.store.begin_run(new).await;
        let run = begun.map_err(|e| JobError::Store(name, e))?;
        self.dealt = scheduled.unwrap_or(self.dealt);
        self.patience = Patience::Left;
        self.timeout = self.job.timeout;
        self.deadline = Instant::now() + self.timeout;
        self.last = Some(run.clone());
        self.record("job.begun", message);
        let started = match lacks {
            Some(lacks) => Err(lacks),
            None => self.start().await,
        };
        if let Err(why) = started {
            self.end(verdict::not_started(&why, Timestamp::now())).await;
        }
        Ok(self.last.clone().unwrap_or(run))
    }

    async fn start(&mut self) -> Result<(), String> {
        if !Arc::ptr_eq(&self.run_by, &self.service) {
            let adapted = self.instance.adapt(Arc::clone(&self.service)).await;
            adapted.map_err(|e| e.to_string())?;
            self.run_by = Arc::clone(&self.service);
        }
        let release = Release::resolve(&self.service).map_err(|e| e.to_string())?;
        self.instance.start(release, None).await.map_err(|e| e.to_string())
    }

    /// Stops the run that goes on; where it is being stopped already, that stands.
    async fn stop(&mut self, by: String) -> Result<RunRow, JobError> {
        let name = self.service.name.clone();
        let run = self.running().cloned().ok_or_else(|| JobError::Idle(name.clone()))?;
        if self.patience == Patience::Left {
            self.record("job.stopping", format!("{name} is stopped by {by}: run {}", run.id));
            let stopped = self.instance.stop().await;
            stopped.map_err(|e| JobError::NotStopped(name, e))?;
            self.patience = Patience::Gone(by);
        }
        Ok(run)
    }

    async fn give_up(&mut self) {
        self.patience = Patience::Over(self.timeout);
        if let Err(e) = self.instance.stop().await {
            tracing::error!("{e}");
            self.patience = Patience::Left;
            self.deadline = Instant::now() + AGAIN;
        }
    }

    async fn end(&mut self, end: RunEnd) {
        let Some(run) = &mut self.last else { return };
        run.end = Some(end.clone());
        let (id, name) = (run.id, self.service.name.clone());
        let (kind, message) = if end.success {
            ("job.done", format!("{name} is done: run {id} {}", end.told))
        } else {
            ("job.failed", format!("{name} has failed: run {id} {}", end.told))
        };
        for left in (0..WRITES.0).rev() {
            match self.store.end_run(id, end.clone()).await {
                Ok(()) => break,
                Err(e) if left == 0 => {
                    tracing::error!(job = %name, "the end of run {id} is not written down: {e}");
                }
                Err(_) => sleep(WRITES.1).await,
            }
        }
        self.record(kind, message);
    }

    fn running(&self) -> Option<&RunRow> {
        self.last.as_ref().filter(|run| run.end.is_none())
    }

    fn publish(&self) {
        let next = self.next.map(|due| due.start);
        self.tell.send_replace(View { last: self.last.clone(), next });
    }

    fn record(&self, kind: &str, message: String) {
        self.store.record(store::Event {
            kind: kind.to_owned(),
            service: Some(self.service.name.to_string()),
            message,
            ..store::Event::default()
        });
    }
}

/// Waits until `instance` has ended.
async fn end_of(instance: &Instance) -> instance::View {
    let mut view = instance.watch();
    let ended = view.wait_for(|view| !view.phase.is_up()).await.map(|view| view.clone());
    match ended {
        Ok(view) => view,
        // Its driver is gone only when the daemon ends.
        Err(_) => std::future::pending().await,
    }
}

/// Spreads the same job on different hosts, and different jobs on one.
fn seed(service: &Service) -> u64 {
    let mut hasher = DefaultHasher::new();
    (rustix::system::uname().nodename(), service.name.as_str()).hash(&mut hasher);
    hasher.finish()
}
