//! What a plan knows of the world: observed before each step, never remembered.

use std::collections::BTreeMap;

use crate::{
    ident::{Generation, RolloutId, Slot},
    instance::Phase,
    nginx::{Members, Role},
    release::Release,
};

/// The world as far as one service is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// Every slot of the service.
    pub slots: BTreeMap<Slot, Seen>,
    /// What nginx serves for the service, by its own answer; `None` when the service is not
    /// behind nginx.
    pub members: Option<Members>,
    /// How sure that is.
    pub proof: Proof,
}

/// How sure it is what nginx serves (`T3`, `S3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// nginx answered, and the file says the same.
    Agreed,
    /// nginx answered something else than the file says, or runs and does not answer: it must be
    /// published before anything relies on it.
    Open,
    /// nginx does not run: the members are what it will start with.
    Down,
}

/// What was seen in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Where its instance is in its life.
    pub phase: Phase,
    /// An instance is meant to run here.
    pub wanted: bool,
    /// Its release.
    pub release: Option<Release>,
    /// Its generation.
    pub generation: Option<Generation>,
    /// The rollout that started it.
    pub rollout: Option<RolloutId>,
}

impl World {
    /// nginx may send requests to the slot.
    #[must_use]
    pub fn has_traffic(&self, slot: Slot) -> bool {
        self.role(slot).is_some_and(|role| role != Role::Down)
    }

    /// The slot's role in the upstream.
    #[must_use]
    pub fn role(&self, slot: Slot) -> Option<Role> {
        self.members.as_ref()?.get(&slot.port()?).copied()
    }

    /// Something runs in the slot, and is neither ready nor about to be.
    #[must_use]
    pub fn is_sick(&self, slot: Slot) -> bool {
        self.slots.get(&slot).is_some_and(|seen| {
            matches!(seen.phase, Phase::Unready | Phase::Backoff | Phase::Failed)
        })
    }

    /// The slot's instance is ready.
    #[must_use]
    pub fn is_ready(&self, slot: Slot) -> bool {
        self.slots.get(&slot).is_some_and(|seen| seen.phase == Phase::Ready)
    }
}
