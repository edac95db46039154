//! The life of an instance: a pure state machine, the task that drives it, back-off, probes.
//!
//! One task per slot. Orders go in through [`Instance`]; what it is goes out as a [`View`] in a
//! `watch`, and what happened as events in the store.

mod adoption;
mod appetite;
pub mod backoff;
mod body;
mod chart;
mod driver;
#[cfg(test)]
mod driver_tests;
mod effects;
mod ending;
mod error;
mod kept;
#[cfg(test)]
mod kit;
mod knock;
pub mod life;
#[cfg(test)]
mod life_tests;
mod probe;
mod probing;
mod refit;
mod reload;
mod resting;
mod saving;
mod schedule;
mod specify;
mod stale;
mod state;
mod team;
mod timers;
mod view;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::oneshot;

pub use chart::{Answer, Chart};
pub use error::InstanceError;
pub use life::{Question, Rest};
pub use reload::ReloadError;
pub use resting::stopped_for_now;
pub use specify::START_WITHIN;
pub use view::{Cause, Death, Phase, View};

use self::{
    body::{Body, Place},
    chart::Board,
    driver::Driver,
    team::Team,
};
use crate::{
    config::{ReloadSignal, Service},
    ident::{InstanceId, RolloutId},
    latest, mailbox,
    process::{Capture, Door, Keeping, Launcher, Shelf},
    release::Release,
    store::{SlotRow, Store},
};

/// What an instance lives on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Starts and adopts its processes.
    pub launcher: Arc<Launcher>,
    /// Keeps its slot and its events.
    pub store: Store,
    /// Keeps listening sockets for the next daemon.
    pub shelf: Shelf,
    /// The FIFOs are below this.
    pub runtime_dir: Arc<Path>,
}

/// Which processes will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// Only those that were started for this rollout.
    Only,
    /// Any of the right release.
    Any,
}

/// Where the output of an instance goes.
#[derive(Debug, Clone, Copy)]
pub struct Outlet<'a> {
    /// Its files are in this.
    pub log_dir: &'a Path,
    /// How much of it they keep.
    pub keeping: Keeping,
}

/// What can be asked of a driver.
#[derive(Debug)]
pub(crate) enum Order {
    /// Start it afresh; from now on it is meant to run.
    Start { release: Release, rollout: Option<RolloutId> },
    /// Stop it; from now on it is not meant to run.
    Stop,
    /// It hangs, and nobody takes its place: end it, and start it again by its restart policy.
    Forsake,
    /// Stop it, but it stays meant to run: the daemon or the host is going down.
    Halt,
    /// Go on by this definition of its service.
    Adapt(Arc<Service>),
    /// Forget its deaths; stop it if it was given up.
    Forgive,
    /// Start another set of processes beside what runs, which gets no connection yet.
    Beside { release: Release, rollout: Option<RolloutId>, fresh: Fresh },
    /// New connections go to the set that stands beside; the other one stands beside it then.
    Face,
    /// Stop what stands beside.
    Dismiss,
    /// Count the connections of what stands beside; of a worker, its own.
    Count(oneshot::Sender<usize>),
    /// Send its main process a signal.
    Signal(ReloadSignal),
}

/// Boxed, because an order of some kinds is large.
pub(crate) type Command = Box<(Order, oneshot::Sender<Result<(), InstanceError>>)>;

/// Handle of one instance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Instance(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    id: InstanceId,
    commands: mailbox::Sender<Command>,
    view: latest::Receiver<View>,
    board: Board,
    capture: Capture,
    stand_in: latest::Sender<Option<latest::Receiver<View>>>,
}

impl Instance {
    /// Begins to drive the instance `id` of `service`: adopts what runs in its slot by `row`, ends
    /// what must not run, and starts what is meant to.
    ///
    /// # Errors
    /// [`InstanceError::Capture`] when its FIFOs cannot be opened.
    pub fn begin(
        id: InstanceId,
        service: Arc<Service>,
        row: Option<SlotRow>,
        ground: Ground,
        outlet: Outlet<'_>,
    ) -> Result<Self, InstanceError> {
        let (place, orders, handle) = Self::place(id.clone(), &ground, outlet)?;
        let driver = Driver::new(id, service, row, ground, place.capture.clone(), None);
        let body = Body::Tree(Box::new(driver.shown_on(&place)));
        tokio::spawn(place.live(body, orders));
        Ok(handle)
    }

    /// As [`Instance::begin`], for a slot whose socket the daemon holds, with `count` process trees
    /// that accept on it, by all the `rows` of the slot.
    ///
    /// # Errors
    /// [`InstanceError::Capture`] when its FIFOs cannot be opened.
    pub fn begin_held(
        id: InstanceId,
        (service, count): (Arc<Service>, u16),
        rows: &[SlotRow],
        ground: Ground,
        outlet: Outlet<'_>,
    ) -> Result<Self, InstanceError> {
        let (place, orders, handle) = Self::place(id.clone(), &ground, outlet)?;
        let gate = place.gate(&service);
        let capture = place.capture.clone();
        let team = Team::new(id, service, (count, gate), rows, ground, capture)?;
        let body = Body::Team(Box::new(team.shown_on(&place)));
        tokio::spawn(place.live(body, orders));
        Ok(handle)
    }

    /// Where a body lives, and the handle of whoever does.
    fn place(
        id: InstanceId,
        ground: &Ground,
        outlet: Outlet<'_>,
    ) -> Result<(Place, mailbox::Receiver<Command>, Self), InstanceError> {
        let Outlet { log_dir, keeping } = outlet;
        let capture = Capture::open(&id, &ground.runtime_dir, log_dir, keeping, &ground.shelf)
            .map_err(|source| InstanceError::Capture { id: id.clone(), source })?;
        let (commands, orders) = mailbox::mailbox();
        let (view, shown) = latest::channel(View::unknown(id.clone()));
        let board = Board::default();
        let (stand_in, standing) = latest::channel(None);
        let handle = Self(Arc::new(Handle {
            id: id.clone(),
            commands,
            view: shown,
            board: board.clone(),
            capture: capture.clone(),
            stand_in,
        }));
        let ground = ground.clone();
        let place = Place { id, ground, capture, view, board, stand_in: standing };
        Ok((place, orders, handle))
    }

    fn drive(
        id: InstanceId,
        service: Arc<Service>,
        row: Option<SlotRow>,
        ground: Ground,
        (capture, door): (Capture, Option<Door>),
    ) -> Self {
        let (commands, mut orders) = mailbox::mailbox();
        let mut driver = Driver::new(id.clone(), service, row, ground, capture.clone(), door);
        let (view, board) = (driver.subscribe(), driver.board());
        tokio::spawn(async move { driver.run(&mut orders, None).await });
        let stand_in = latest::channel(None).0;
        Self(Arc::new(Handle { id, commands, view, board, capture, stand_in }))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        &self.0.id
    }

    /// What it is now.
    #[must_use]
    pub fn view(&self) -> View {
        self.0.view.borrow().clone()
    }

    /// What it is, and every change.
    #[must_use]
    pub fn watch(&self) -> latest::Receiver<View> {
        self.0.view.clone()
    }

    /// Its last answers to probes.
    #[must_use]
    pub fn chart(&self) -> Arc<Chart> {
        self.0.board.chart()
    }

    /// Its output.
    #[must_use]
    pub fn output(&self) -> &Capture {
        &self.0.capture
    }

    /// Starts it afresh with `release`. The intent is durable, and the process was spawned or has
    /// failed to, when this returns; it is not ready yet. What still runs is asked to end first: then
    /// it stays written down as what it is until the new process is spawned.
    ///
    /// # Errors
    /// When the intent could not be made durable, or the daemon is ending.
    pub async fn start(
        &self,
        release: Release,
        rollout: Option<RolloutId>,
    ) -> Result<(), InstanceError> {
        self.order(Order::Start { release, rollout }).await
    }

    /// Begins to stop it. The intent is durable when this returns.
    ///
    /// # Errors
    /// When the intent could not be made durable, or the daemon is ending.
    pub async fn stop(&self) -> Result<(), InstanceError> {
        self.order(Order::Stop).await
    }

    /// One that hangs is ended, and started again by its restart policy, for nobody takes its place.
    /// Changes nothing of any other.
    ///
    /// # Errors
    /// When the daemon is ending.
    pub async fn forsake(&self) -> Result<(), InstanceError> {
        self.order(Order::Forsake).await
    }

    /// Begins to stop it; the next daemon will start it again.
    ///
    /// # Errors
    /// When the daemon is ending already.
    pub async fn halt(&self) -> Result<(), InstanceError> {
        self.order(Order::Halt).await
    }

    /// From now on it is looked after by `service`. What it runs stays what it is, but for limits
    /// and priority, as far as the kernel lets them be changed ([`View::confined`]): what else of
    /// it comes from the service holds from its next start.
    ///
    /// # Errors
    /// When the daemon is ending.
    pub async fn adapt(&self, service: Arc<Service>) -> Result<(), InstanceError> {
        self.order(Order::Adapt(service)).await
    }

    /// Forgets its deaths. One that was given up is stopped when this returns, unless what is left
    /// of it cannot be ended: then it is still [`Phase::Failed`], and its [`View::death`] says why.
    ///
    /// # Errors
    /// When that could not be made durable, or the daemon is ending.
    pub async fn forgive(&self) -> Result<(), InstanceError> {
        self.order(Order::Forgive).await
    }

    /// Starts processes of `release` beside what runs in the same slot, which get no connection yet:
    /// [`View::beside`]. Those that are there already are kept where they are right.
    ///
    /// # Errors
    /// When the intent could not be made durable, or it has a socket of its own.
    pub async fn beside(
        &self,
        release: Release,
        rollout: Option<RolloutId>,
        fresh: Fresh,
    ) -> Result<(), InstanceError> {
        self.order(Order::Beside { release, rollout, fresh }).await
    }

    /// New connections go to what stands beside; what they went to stands beside then, and keeps
    /// the connections it has.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn face(&self) -> Result<(), InstanceError> {
        self.order(Order::Face).await
    }

    /// Begins to stop what stands beside.
    ///
    /// # Errors
    /// When the intent could not be made durable.
    pub async fn dismiss(&self) -> Result<(), InstanceError> {
        self.order(Order::Dismiss).await
    }

    /// The connections of what stands beside; of a worker, its own.
    pub async fn connections(&self) -> usize {
        let (answer, counted) = oneshot::channel();
        let _ = self.order(Order::Count(answer)).await;
        counted.await.unwrap_or(0)
    }

    /// Whoever sends it connections sends them to `other` where this one refuses them. On a held
    /// socket they are refused then while `other` is ready and nothing of this one is left; else
    /// they wait.
    pub fn cover(&self, other: Option<&Self>) {
        self.0.stand_in.send(other.map(Self::watch));
    }

    /// Waits until `is` holds of it, at most `within`.
    ///
    /// # Errors
    /// [`InstanceError::TooSlow`] names what it is instead.
    pub async fn until(
        &self,
        within: Duration,
        is: impl Fn(&View) -> bool,
    ) -> Result<View, InstanceError> {
        let mut view = self.0.view.clone();
        let reached = tokio::time::timeout(within, view.wait_for(|v| is(v))).await;
        match reached {
            Ok(Ok(view)) => Ok(view.clone()),
            Ok(Err(_)) => Err(InstanceError::Ending(self.0.id.clone())),
            Err(_) => Err(InstanceError::TooSlow {
                id: self.0.id.clone(),
                phase: self.0.view.borrow().phase,
                within,
            }),
        }
    }

    async fn order(&self, order: Order) -> Result<(), InstanceError> {
        let (done, answer) = oneshot::channel();
        let ending = || InstanceError::Ending(self.0.id.clone());
        self.0.commands.send(Box::new((order, done))).map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }
}
