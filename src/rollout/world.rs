//! What a plan knows of the world: observed before each step, never remembered.

use std::collections::BTreeMap;

use crate::{
    ident::{Generation, RolloutId, Slot},
    instance::{Phase, Rest},
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
    /// Why it is left as it is all the same.
    pub rest: Option<Rest>,
    /// Its release.
    pub release: Option<Release>,
    /// Its generation.
    pub generation: Option<Generation>,
    /// The rollout that started it.
    pub rollout: Option<RolloutId>,
    /// What can stand beside it in the slot.
    pub room: Room,
}

/// What can stand beside an instance in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Room {
    /// Nothing: its socket is its own.
    None,
    /// Another set of processes, on the socket that the daemon holds.
    Free,
    /// One does already.
    Taken,
}

impl Seen {
    /// It is meant to run, and left as it is all the same.
    #[must_use]
    pub const fn rests(&self) -> bool {
        self.wanted && self.rest.is_some()
    }
}

impl World {
    /// nginx may send requests to the slot.
    #[must_use]
    pub fn has_traffic(&self, slot: Slot) -> bool {
        self.role(slot).is_some_and(|role| role != Role::Down)
    }

    /// nginx may send requests of clients to the slot, and not only those of somebody who tries it.
    #[must_use]
    pub fn has_clients(&self, slot: Slot) -> bool {
        self.role(slot).is_some_and(Role::has_clients)
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
            matches!(
                seen.phase,
                Phase::Unready
                    | Phase::Hung
                    | Phase::Backoff
                    | Phase::Ending
                    | Phase::Failed
                    | Phase::Finished
            )
        })
    }

    /// All that a rollout waits for is so: the slot's instance is ready, or, where nobody sends it
    /// requests, it has finished.
    #[must_use]
    pub fn is_settled(&self, slot: Slot) -> bool {
        self.is_ready(slot)
            || self.members.is_none()
                && self.slots.get(&slot).is_some_and(|seen| seen.phase == Phase::Finished)
    }

    /// New processes can take over from old ones in the slot.
    #[must_use]
    pub fn is_held(&self, slot: Slot) -> bool {
        self.slots.get(&slot).is_some_and(|seen| seen.room != Room::None)
    }

    /// The slot's instance is ready.
    #[must_use]
    pub fn is_ready(&self, slot: Slot) -> bool {
        self.slots.get(&slot).is_some_and(|seen| seen.phase == Phase::Ready)
    }
}
