//! What a driver does to the world: spawns processes, writes the slot down, tells.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{
    InstanceError,
    appetite::Appetite,
    driver::Driver,
    kept::{Kept, Seen},
    life::{self, Event, State},
    specify::{Specified, specify},
    stale,
    view::{Cause, Death, Phase, View},
};
use crate::{
    config::{Sign, Socket},
    ident::{Generation, InstanceId},
    process::{Confined, Exit, Line, Listener, Start, Tree},
    store::{self, SlotRow},
    sync_point,
};

/// How long a start waits for its result to be durable; it is written in any case.
pub(super) const RESULT_PATIENCE: Duration = Duration::from_secs(2);
/// How many last words are kept of a death.
const LAST_LINES: usize = 12;

impl Driver {
    pub(super) async fn spawn(&mut self) -> Event {
        match self.try_spawn().await {
            Ok(generation) => Event::Spawned(generation),
            Err(why) => {
                let message = format!("cannot be started: {why}");
                self.death = Some(Arc::new(Death {
                    generation: None,
                    cause: Cause::System(message),
                    last_lines: vec![],
                }));
                // What was durable may still be what ran before.
                if let Some(row) = self.row.clone() {
                    self.saving.owe(row);
                }
                Event::SpawnFailed
            }
        }
    }

    async fn try_spawn(&mut self) -> Result<Generation, String> {
        let row = self.row.as_deref().cloned().ok_or("no release is known for this slot")?;
        let listener = self.listener().await?;
        let generation = self.ground.store.next_generation().await.map_err(|e| e.to_string())?;
        let row = SlotRow { generation, ..row };
        let Specified { spec, censor } =
            specify(&self.service, &self.id, &row, listener.as_ref()).await?;
        self.censor = censor;
        stale::clear(&self.service.clears).await;
        let (id, rollout) = (row.release.clone(), row.rollout);
        self.capture.begin(Start { generation, release: Some(id), rollout });
        self.enter();
        let spawned = self.ground.launcher.spawn(&self.id, &spec, &self.capture).await;
        let tree = spawned.inspect_err(|_| self.leave()).map_err(|e| e.to_string())?;
        let row = Arc::new(SlotRow { identity: Kept::of(&tree, Seen::Starting), ..row });
        self.confined = tree.confined().clone();
        self.appetite = Appetite::of(&tree, &self.service.confinement);
        self.ground.shelf.put_process(&self.id, &tree);
        self.tree = Some(tree);
        self.runs = Some(Arc::clone(&row));
        sync_point!("instance.spawned");
        self.row = Some(Arc::clone(&row));
        self.saving.owe(row);
        let _ = timeout(RESULT_PATIENCE, self.saving.attempt(&self.ground.store)).await;
        self.tell_refusals();
        Ok(generation)
    }

    /// What it was asked to do without, as `on_refusal: warn` allows.
    pub(super) fn tell_refusals(&self) {
        for refusal in &self.confined.refused {
            self.record("instance.refused", format!("{} runs without {refusal}", self.id));
        }
    }

    /// What it will listen on, where that is held for it; else nobody else may have its port.
    async fn listener(&mut self) -> Result<Option<Listener>, String> {
        if let Some(door) = &self.door {
            return door.open().map(Some).map_err(|e| e.to_string());
        }
        let Some(port) = self.id.slot.port() else { return Ok(None) };
        match self.port_holder(port).await? {
            None => Ok(None),
            Some(holder) => Err(format!(
                "port {port} is held by {holder}; stop that, or give {} another slot",
                self.id.service
            )),
        }
    }

    /// It was found behind the door to the socket that is held for it.
    pub(super) fn found(&self) {
        if let (Some(door), Some(worker)) = (&self.door, self.id.worker) {
            door.find(worker.number);
        }
    }

    /// It is about to be behind that door.
    pub(super) fn enter(&self) {
        if let (Some(door), Some(worker)) = (&self.door, self.id.worker) {
            door.enter(worker.number);
        }
    }

    /// Nothing of it is behind that door any more.
    pub(super) fn leave(&self) {
        if let (Some(door), Some(worker)) = (&self.door, self.id.worker) {
            door.leave(worker.number);
        }
    }

    /// Writes down that it was seen ready, or up where that is asked apart, so that the next daemon
    /// does not take it for one that is still starting. What proves itself by staying alive does so
    /// again.
    pub(super) fn note_ready(&mut self) {
        let (Some(tree), Some(runs)) = (&self.tree, &self.runs) else { return };
        if matches!(self.service.ready.sign, Sign::Alive { .. }) {
            return;
        }
        let identity = Kept::of(tree, Seen::Ready);
        let row = Arc::new(SlotRow { identity, ..SlotRow::clone(runs) });
        if self.row.as_ref().is_some_and(|is| is.generation == row.generation && is.wanted) {
            self.row = Some(Arc::clone(&row));
            self.saving.owe(Arc::clone(&row));
        }
        self.runs = Some(row);
    }

    /// Keeps how the main process ended, and its last words.
    pub(super) async fn note_exit(&mut self, generation: Generation, exit: Exit) {
        self.capture.settle().await;
        let known = self.death.as_ref().is_some_and(|death| {
            death.generation == Some(generation) && !matches!(death.cause, Cause::Exited(_))
        });
        if !known {
            self.death = Some(Arc::new(Death {
                generation: Some(generation),
                cause: self.memory_killed(exit).unwrap_or(Cause::Exited(exit)),
                last_lines: self.last_lines(generation),
            }));
        }
        self.record("instance.died", format!("{} {}", self.id, exit.told()));
    }

    /// The kernel's own way to hold a tree to its memory limit.
    fn memory_killed(&self, exit: Exit) -> Option<Cause> {
        let limit = self.service.confinement.limits.memory?.bytes;
        let killed = exit == Exit::Signal(libc::SIGKILL)
            && self.tree.as_ref().is_some_and(Tree::ran_out_of_memory);
        killed.then_some(Cause::Memory { used: None, limit })
    }

    /// Keeps that it uses too much memory; the exit that follows is a consequence.
    pub(super) fn note_outgrown(&mut self, generation: Generation, used: u64, limit: u64) {
        let cause = Cause::Memory { used: Some(used), limit };
        self.record("instance.memory", format!("{} {cause}", self.id));
        let last_lines = self.last_lines(generation);
        self.death = Some(Arc::new(Death { generation: Some(generation), cause, last_lines }));
    }

    /// Keeps that the start deadline passed; the exit that follows is a consequence.
    pub(super) fn note_not_ready(&mut self) {
        if let State::Starting(generation) = self.life.state {
            let last_probe =
                self.probing.complaint().unwrap_or_else(|| "not enough successes yet".to_owned());
            self.death = Some(Arc::new(Death {
                generation: Some(generation),
                cause: Cause::NotReady { last_probe },
                last_lines: self.last_lines(generation),
            }));
        }
    }

    /// Keeps that the generation `of` hangs, or has given a sign of life after all; the exit that
    /// follows is a consequence.
    pub(super) fn note_pulse(&mut self, before: State) {
        let Some(of) = life::probed(before) else { return };
        match (before, self.life.state) {
            (State::Ready(_) | State::Unready(_), State::Hung(_) | State::Terminating(..)) => {
                let last_probe = self.probing.silence().unwrap_or_default();
                let cause = Cause::Hung { last_probe };
                self.record("instance.hung", format!("{} {cause}", self.id));
                let last_lines = self.last_lines(of);
                self.death = Some(Arc::new(Death { generation: Some(of), cause, last_lines }));
            }
            (State::Hung(_), State::Unready(_)) => {
                self.record("instance.woke", format!("{} gives signs of life again", self.id));
                self.death = None;
            }
            _ => {}
        }
    }

    /// From memory: a restart waits for no log. More people see them than read the log, and for
    /// longer, so what is a secret is left out.
    fn last_lines(&self, generation: Generation) -> Vec<Line> {
        let mut lines = self.capture.recent(LAST_LINES);
        lines.retain(|line| line.generation == generation);
        for line in &mut lines {
            line.text = self.censor.clean(&line.text);
        }
        lines
    }

    /// Makes `row` durable, then holds it for true.
    pub(super) async fn write(&mut self, row: SlotRow) -> Result<(), InstanceError> {
        if let Err(source) = self.ground.store.put_slot(row.clone()).await {
            // A store that stalled may write it yet: what stands is written after it.
            let stands = self.row.clone();
            let stands = stands.unwrap_or_else(|| Arc::new(SlotRow { wanted: false, ..row }));
            self.saving.owe(stands);
            return Err(InstanceError::Store { id: self.id.clone(), source });
        }
        self.saving.settle();
        self.row = Some(Arc::new(row));
        Ok(())
    }

    /// Tells of a change of state.
    pub(super) fn tell(&self, before: State) {
        // A start is told once it has a generation, a clearing once it is done, and an adoption
        // changes nothing.
        let untold =
            matches!(self.life.state, State::Spawning | State::Clearing(_) | State::Hung(_));
        if untold || life::is_adoption(before, self.life.state) {
            return;
        }
        let is = Phase::from(self.life.state);
        if before != State::Spawning && Phase::from(before) == is {
            return;
        }
        let why = match (is, &self.death) {
            (Phase::Failed | Phase::Backoff | Phase::Finished, Some(death)) => {
                format!(": {}", death.cause)
            }
            _ => String::new(),
        };
        let has_come_up =
            matches!((before, self.life.state), (State::Starting(_), State::Unready(_)));
        let state = match is {
            Phase::Unready if has_come_up => "has come up",
            Phase::Backoff => "waits before its next start",
            Phase::Failed => "has failed and is given up",
            Phase::Finished => "has finished",
            is => &format!("is {}", is.word()),
        };
        let message = format!("{} {state}{why}", self.id);
        self.record(&format!("instance.{}", is.word()), message);
    }

    pub(super) fn record(&self, kind: &str, message: String) {
        let row = self.runs.as_ref().or(self.row.as_ref());
        self.ground.store.record(store::Event {
            kind: kind.to_owned(),
            service: Some(self.id.service.to_string()),
            instance: Some(self.id.to_string()),
            generation: row.map(|row| row.generation.0),
            rollout: row.and_then(|row| row.rollout).map(|id| id.0),
            message,
            ..store::Event::default()
        });
    }
}

impl View {
    pub(super) fn unknown(id: InstanceId) -> Self {
        Self {
            id,
            phase: Phase::Stopped,
            wanted: false,
            rest: None,
            release: None,
            rollout: None,
            generation: None,
            identity: None,
            restarts: 0,
            since: Instant::now(),
            next_start: None,
            complaint: None,
            death: None,
            exit: None,
            confined: Confined::default(),
            workers: vec![],
            socket: Socket::Own,
            beside: None,
        }
    }
}
