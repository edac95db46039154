//! A slot whose socket the daemon holds: one or more process trees that accept on it, each with a
//! life of its own, and for a while a second set of them beside the first.
//!
//! Each worker is driven as any instance is, by a [`super::driver::Driver`]; what the slot is
//! follows from what they are ([`picture`]). New connections go to the set that faces them; when
//! another one takes over, the old one keeps what it has.

mod cover;
mod picture;
mod relay;
mod set;
mod takeover;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use self::set::Set;
use super::{
    Chart, Command, Ground, InstanceError, Order,
    body::{Left, Place},
    chart::Board,
    kept::Kept,
    view::{Cause, Death, Phase, View},
};
use crate::{
    config::Service,
    ident::{InstanceId, RolloutId, Side, Worker},
    latest, mailbox,
    process::{self, Capture, Gate, Identity},
    release::Release,
    store::{self, SlotRow},
};

/// How long a closed port may stay bound.
const PORT_DEADLINE: Duration = Duration::from_secs(2);
/// How often it is tried meanwhile.
const PORT_PAUSE: Duration = Duration::from_millis(5);

/// Everything a slot with a held socket is made of.
pub(super) struct Team {
    id: InstanceId,
    service: Arc<Service>,
    count: u16,
    ground: Ground,
    gate: Arc<Gate>,
    capture: Capture,
    /// FIFOs that were opened; a FIFO has one reader.
    branches: BTreeMap<Worker, Capture>,
    /// The set that new connections go to.
    facing: Option<Set>,
    /// Another one beside it: about to take over, or finishing what it has.
    beside: Option<Set>,
    /// Why it is not stopped although nothing of it runs.
    trouble: Option<Death>,
    born: std::time::Instant,
    view: latest::Sender<View>,
    board: Board,
    /// Another slot, which gets the connections that this one refuses.
    stand_in: latest::Receiver<Option<latest::Receiver<View>>>,
}

impl Team {
    /// Takes up what an earlier daemon left by `rows`: its sockets, and its workers.
    pub(super) fn new(
        id: InstanceId,
        service: Arc<Service>,
        (count, gate): (u16, Arc<Gate>),
        rows: &[SlotRow],
        ground: Ground,
        capture: Capture,
    ) -> Result<Self, InstanceError> {
        let mut team = Self {
            view: latest::channel(View::unknown(id.clone())).0,
            id,
            service,
            count,
            ground,
            gate,
            capture,
            branches: BTreeMap::new(),
            facing: None,
            beside: None,
            trouble: None,
            born: std::time::Instant::now(),
            board: Board::default(),
            stand_in: latest::channel(None).1,
        };
        // The older one faces, until somebody knows better.
        let mut sides: Vec<(Side, Vec<SlotRow>)> =
            Side::ALL.into_iter().map(|side| (side, of_side(rows, side))).collect();
        sides.retain(|(_, rows)| !rows.is_empty());
        sides.sort_by_key(|(_, rows)| rows.iter().map(|row| row.generation).max());
        // One that is not meant to run is only of interest while there is no other.
        if sides.iter().any(|(_, rows)| rows.iter().any(|row| row.wanted)) {
            sides.sort_by_key(|(_, rows)| !rows.iter().any(|row| row.wanted));
        }
        for (side, rows) in sides {
            let set = team.adopt(side, &rows)?;
            match &team.facing {
                None => team.facing = Some(set),
                Some(_) => team.beside = Some(set),
            }
        }
        team.publish();
        Ok(team)
    }

    /// Is seen where everybody looks.
    pub(super) fn shown_on(self, place: &Place) -> Self {
        let (view, board) = (place.view.clone(), place.board.clone());
        let team = Self { view, board, stand_in: place.stand_in.clone(), ..self };
        team.publish();
        team
    }

    pub(super) fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    /// Nothing of it runs.
    pub(super) fn is_over(&self) -> bool {
        self.beside.is_none() && self.facing.as_ref().is_none_or(Set::is_stopped)
    }

    /// Whoever has ever worked in it.
    pub(super) fn workers(&self) -> Vec<InstanceId> {
        self.branches.keys().map(|worker| self.id.with_worker(*worker)).collect()
    }

    /// Takes `first`, then `orders`.
    pub(super) async fn run(
        &mut self,
        orders: &mut mailbox::Receiver<Command>,
        first: Option<Command>,
    ) -> Left {
        let mut first = first;
        loop {
            self.settle().await;
            self.publish();
            let other = self.look_at_stand_in();
            let command = if let Some(first) = first.take() {
                Some(Some(first))
            } else {
                let sets = [self.facing.as_mut(), self.beside.as_mut()];
                let news = futures_util::future::select_all(
                    sets.into_iter().map(|set| Box::pin(set::changed(set))),
                );
                tokio::select! {
                    command = orders.recv() => Some(command),
                    _ = news => None,
                    () = cover::changed(&mut self.stand_in, other) => None,
                }
            };
            match command {
                None => {}
                Some(None) => return Left::Alone,
                Some(Some(command)) if self.leaves_to_other(&command.0) => {
                    return Left::Other(command);
                }
                Some(Some(command)) => {
                    let (order, done) = *command;
                    let taken = self.take(order).await;
                    self.publish();
                    // Whoever asked may have gone away meanwhile; the order stands.
                    let _ = done.send(taken);
                }
            }
        }
    }

    async fn take(&mut self, order: Order) -> Result<(), InstanceError> {
        match order {
            Order::Start { release, rollout } => self.start(&release, rollout).await,
            Order::Stop => {
                for set in [&mut self.facing, &mut self.beside].into_iter().flatten() {
                    set.stop().await?;
                }
                Ok(())
            }
            Order::Halt => {
                for set in [&mut self.facing, &mut self.beside].into_iter().flatten() {
                    set.halt().await?;
                }
                Ok(())
            }
            Order::Forgive => {
                for set in [&mut self.facing, &mut self.beside].into_iter().flatten() {
                    set.forgive().await?;
                }
                self.trouble = None;
                Ok(())
            }
            Order::Signal(signal) => match &self.facing {
                Some(set) => set.signal(signal).await,
                None => Ok(()),
            },
            // Workers that hang are taken care of here.
            Order::Forsake => Ok(()),
            Order::Adapt(service) => self.adapt(&service).await,
            Order::Beside { release, rollout, fresh } => self.raise(&release, rollout, fresh).await,
            Order::Face => self.face(),
            Order::Dismiss => match &mut self.beside {
                Some(set) => set.stop().await,
                None => Ok(()),
            },
            Order::Count(answer) => {
                let _ = answer.send(self.count_beside().await);
                Ok(())
            }
        }
    }

    /// What runs stays what it is.
    async fn adapt(&mut self, service: &Arc<Service>) -> Result<(), InstanceError> {
        self.service = Arc::clone(service);
        // Where it is not any more, what runs goes on until its next start.
        self.count = service.held().unwrap_or(self.count);
        self.gate.move_to(service.host());
        for set in [&self.facing, &self.beside].into_iter().flatten() {
            set.adapt(service).await?;
        }
        Ok(())
    }

    /// Starts the set that faces afresh; whatever else runs is stopped.
    async fn start(
        &mut self,
        release: &Release,
        rollout: Option<RolloutId>,
    ) -> Result<(), InstanceError> {
        self.trouble = None;
        if let Some(set) = &mut self.beside {
            set.stop().await?;
        }
        let side = self.facing.as_ref().map_or(Side::A, Set::side);
        let mut set = match self.facing.take() {
            Some(set) => set,
            None => self.empty(side),
        };
        let filled = self.fill(&mut set);
        let started = match filled {
            Ok(()) => set.start(release, rollout, self.count).await,
            Err(e) => Err(e),
        };
        self.facing = Some(set);
        started
    }

    /// A set with all the workers there are to be.
    fn fill(&mut self, set: &mut Set) -> Result<(), InstanceError> {
        for number in 1..=self.count {
            let worker = Worker { side: set.side(), number };
            if !set.has(worker) {
                let id = self.id.with_worker(worker);
                set.add(id, None, self.branch(worker)?, &self.service, &self.ground);
            }
        }
        Ok(())
    }

    fn empty(&self, side: Side) -> Set {
        Set::new(side, Arc::clone(&self.gate))
    }

    fn adopt(&mut self, side: Side, rows: &[SlotRow]) -> Result<Set, InstanceError> {
        let mut set = self.empty(side);
        self.recover(side, rows);
        let mut rows: Vec<&SlotRow> = rows.iter().collect();
        rows.sort_by_key(|row| row.instance.worker.map(|worker| worker.number));
        let mut missing = self.count;
        for row in rows {
            let Some(worker) = row.instance.worker else { continue };
            // What is more than there is to be is not meant to run any more.
            let wanted = row.wanted && missing > 0;
            missing -= u16::from(wanted);
            let row = SlotRow { wanted, ..row.clone() };
            let id = row.instance.clone();
            set.add(id, Some(row), self.branch(worker)?, &self.service, &self.ground);
        }
        Ok(set)
    }

    /// Finds the socket of `side` again. Without it, what runs goes on all the same.
    fn recover(&self, side: Side, rows: &[SlotRow]) {
        let identities = rows.iter().filter_map(|row| row.identity.as_deref());
        let living: Vec<Identity> =
            identities.filter_map(|text| Some(Kept::read(text)?.who)).collect();
        for who in living.iter().map(Some).chain([None]) {
            match self.gate.recover(side, who) {
                Ok(true) => return,
                Ok(false) => {}
                Err(e) => self.record("instance.socket", format!("{}: {e}", self.id)),
            }
        }
    }

    fn branch(&mut self, worker: Worker) -> Result<Capture, InstanceError> {
        if let Some(branch) = self.branches.get(&worker) {
            return Ok(branch.clone());
        }
        let id = self.id.with_worker(worker);
        let branch = self.capture.branch(&id, &self.ground.runtime_dir, &self.ground.shelf);
        let branch = branch.map_err(|source| InstanceError::Capture { id, source })?;
        self.branches.insert(worker, branch.clone());
        Ok(branch)
    }

    /// What follows when workers have come to rest.
    async fn settle(&mut self) {
        if let Err(e) = self.relay().await {
            tracing::error!("{e}");
        }
        if let Some(set) = self.beside.take_if(|set| set.is_down()) {
            self.gate.close(set.side());
        }
        let Some(set) = &mut self.facing else { return };
        set.look(self.count);
        let side = set.side();
        if set.is_stopped() {
            if self.gate.listener(side).is_some() {
                self.gate.close(side);
                self.trouble = self.port_is_free().await;
            }
        } else if set.is_down() {
            // Given up: nobody will come.
            self.gate.hush(side);
        }
    }

    /// `P2`.
    async fn port_is_free(&self) -> Option<Death> {
        let port = self.id.slot.port()?;
        let deadline = Instant::now() + PORT_DEADLINE;
        while process::is_free(port) == Some(false) {
            if Instant::now() >= deadline {
                let holder = self.ground.launcher.port_holder(port).ok().flatten()?;
                let why = format!("its processes are gone, but port {port} is held by {holder}");
                let cause = Cause::System(why);
                return Some(Death { generation: None, cause, last_lines: vec![] });
            }
            sleep(PORT_PAUSE).await;
        }
        None
    }

    fn publish(&self) {
        let views = |set: &Option<Set>| set.as_ref().map(Set::views).unwrap_or_default();
        let proven = self.facing.as_ref().is_some_and(Set::is_proven);
        let mut view = picture::of(&self.id, views(&self.facing), proven, self.born);
        if let Some(set) = &self.beside {
            let beside = picture::of(&self.id, set.views(), set.is_proven(), self.born);
            view.beside = Some(Box::new(beside));
        }
        if let Some(trouble) = self.trouble.clone().filter(|_| view.phase == Phase::Stopped) {
            view.phase = Phase::Failed;
            view.death = Some(Arc::new(trouble));
        }
        let charts = self.facing.as_ref().map(Set::charts).unwrap_or_default();
        self.board.hang(Chart::merged(&charts));
        let is_news = *self.view.borrow() != view;
        if is_news {
            self.view.send(view);
        }
    }

    fn record(&self, kind: &str, message: String) {
        self.ground.store.record(store::Event {
            kind: kind.to_owned(),
            service: Some(self.id.service.to_string()),
            instance: Some(self.id.to_string()),
            message,
            ..store::Event::default()
        });
    }
}

fn of_side(rows: &[SlotRow], side: Side) -> Vec<SlotRow> {
    let is_of = |row: &&SlotRow| row.instance.worker.is_some_and(|worker| worker.side == side);
    rows.iter().filter(is_of).cloned().collect()
}
