//! The engine's loop (`drive.rs`) as moves between states, with a daemon that may die at each.

use std::{
    hash::{Hash, Hasher},
    mem,
    rc::Rc,
};

use super::{Plan, properties, reality::Reality};
use crate::rollout::{
    plan::Next,
    record::{Outcome, Rollout, Step},
    words,
};

/// One moment of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// What the store has.
    pub(super) durable: Rc<Rollout>,
    pub(super) daemon: Daemon,
    pub(super) reality: Reality,
    /// How many faults may still come.
    pub(super) faults: u8,
}

/// By what differs between the states of one rollout: hashing all of it takes most of the time.
impl Hash for State {
    fn hash<H: Hasher>(&self, into: &mut H) {
        (self.faults, self.durable.at, self.durable.course, &self.durable.drained).hash(into);
        let phases = self.reality.slots.values().map(|seen| seen.phase);
        phases.for_each(|phase| phase.hash(into));
        (&self.reality.front, &self.reality.busy, &self.reality.unprobed).hash(into);
        mem::discriminant(&self.daemon).hash(into);
    }
}

/// Where the daemon is in its loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Daemon {
    /// There is none.
    Dead,
    /// About to observe and to decide, with this in its memory.
    Decides(Rc<Rollout>),
    /// Its intent is durable; the effect has not begun.
    Acts(Step),
}

type Moves = Vec<(String, State)>;

impl State {
    pub(super) fn new(rollout: Rollout, reality: Reality, faults: u8) -> Self {
        let durable = Rc::new(rollout);
        Self { daemon: Daemon::Decides(Rc::clone(&durable)), durable, reality, faults }
    }

    /// How the rollout ended, as the store has it.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.durable.outcome()
    }

    /// Everything that can happen next.
    ///
    /// # Errors
    /// The invariant that one of them breaks.
    pub(super) fn moves(&self, plan: Plan) -> Result<Moves, String> {
        if self.outcome().is_some() {
            return Ok(vec![]);
        }
        properties::nobody_is_turned_away(self)?;
        let mut all = match &self.daemon {
            Daemon::Dead => vec![("aibkd starts".to_owned(), self.reborn())],
            Daemon::Decides(rollout) => self.decides(rollout, plan)?,
            Daemon::Acts(step) => self.acts(step)?,
        };
        let by_itself = self.reality.recoveries().into_iter();
        all.extend(by_itself.map(|(name, reality)| (name, self.with(reality, 0))));
        if self.faults > 0 {
            let harm = self.reality.faults().into_iter();
            all.extend(harm.map(|(name, reality)| (name, self.with(reality, 1))));
            if self.daemon != Daemon::Dead {
                all.push(("aibkd dies".to_owned(), self.dies(self.reality.clone())));
            }
        }
        Ok(all)
    }

    fn decides(&self, rollout: &Rollout, plan: Plan) -> Result<Moves, String> {
        let world = self.reality.observe();
        let next = plan(rollout, &world);
        properties::decision(self, rollout, &world, &next)?;
        let mut changed = rollout.clone();
        let (name, acts) = match next {
            Next::Do(step) => {
                changed.begin(&step, &world, 0);
                (format!("aibkd will {}", words::step(rollout, &step)), Some(step))
            }
            Next::Advance => {
                changed.advance();
                ("aibkd advances".to_owned(), None)
            }
            Next::End(outcome) => {
                changed.end(outcome, 0);
                (format!("it is {outcome:?}"), None)
            }
        };
        let mut all = vec![(name, self.saved(changed, acts))];
        if self.faults > 0 {
            let mut given_up = rollout.clone();
            given_up.abandon("the disk is full");
            let full = Self { faults: self.faults - 1, ..self.saved(given_up, None) };
            all.push(("the disk is full".to_owned(), full));
            all.push(("nginx cannot be asked".to_owned(), self.fails(rollout)));
            if rollout.can_turn_back() {
                all.push(("cancel".to_owned(), self.fails(rollout)));
            }
        }
        Ok(all)
    }

    fn acts(&self, step: &Step) -> Result<Moves, String> {
        properties::effect(self, step)?;
        let mut all = vec![];
        for effect in self.reality.effects(step, &self.durable) {
            let Some(faults) = self.faults.checked_sub(effect.faults) else { continue };
            if self.faults > 0 && effect.result.is_ok() {
                let died = self.dies(effect.reality.clone());
                all.push((format!("{}, and aibkd dies", effect.name), died));
            }
            let mut known = (*self.durable).clone();
            known.finish(effect.result.map(|()| None).map_err(|()| "it failed".to_owned()), 0);
            all.push((effect.name.to_owned(), self.knows(known, effect.reality, faults)));
        }
        if self.faults > 0 {
            for (name, reality) in self.reality.halfway(step, &self.durable) {
                all.push((format!("{name}, and aibkd dies"), self.dies(reality)));
            }
            let waits = matches!(
                step,
                Step::AwaitReady { .. }
                    | Step::Watch { .. }
                    | Step::Hold { .. }
                    | Step::Drain { .. }
            );
            if waits && self.durable.can_turn_back() {
                let mut known = (*self.durable).clone();
                known.finish(Err("cancelled".to_owned()), 0);
                let back = self.knows(known, self.reality.clone(), self.faults - 1);
                all.push(("cancel".to_owned(), back));
            }
        }
        Ok(all)
    }

    fn with(&self, reality: Reality, faults: u8) -> Self {
        let (durable, daemon) = (Rc::clone(&self.durable), self.daemon.clone());
        Self { durable, daemon, reality, faults: self.faults - faults }
    }

    /// What the daemon knows now, and has not written down.
    fn knows(&self, rollout: Rollout, reality: Reality, faults: u8) -> Self {
        let daemon = Daemon::Decides(plain(rollout).into());
        Self { durable: Rc::clone(&self.durable), daemon, reality, faults }
    }

    /// One fault that `rollout` takes for a failure.
    fn fails(&self, rollout: &Rollout) -> Self {
        let mut failed = rollout.clone();
        failed.fail("it failed");
        self.knows(failed, self.reality.clone(), self.faults - 1)
    }

    fn dies(&self, reality: Reality) -> Self {
        Self { daemon: Daemon::Dead, ..self.with(reality, 1) }
    }

    fn reborn(&self) -> Self {
        let daemon = Daemon::Decides(Rc::clone(&self.durable));
        Self { daemon, reality: self.reality.adopted(), ..self.clone() }
    }

    fn saved(&self, rollout: Rollout, acts: Option<Step>) -> Self {
        let durable = Rc::new(plain(rollout));
        let daemon = acts.map_or_else(|| Daemon::Decides(Rc::clone(&durable)), Daemon::Acts);
        Self { durable, daemon, reality: self.reality.clone(), faults: self.faults }
    }
}

/// Without what no decision depends on, so that states are the same that behave the same.
fn plain(mut rollout: Rollout) -> Rollout {
    let last = rollout.steps.pop().filter(|taken| taken.took_ms.is_none());
    rollout.steps = last.into_iter().collect();
    rollout.failure = rollout.failure.map(|_| String::new());
    rollout.revision = 0;
    rollout
}
