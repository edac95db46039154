//! What a step is meant to make of the world. Pure; the forecast goes by it, and so do the tests of
//! the plan and its model checker, which add what can go wrong.

use std::collections::BTreeMap;

use super::{
    record::{Rollout, Step},
    world::{Proof, Room, Seen, World},
};
use crate::{ident::Slot, instance::Phase, release::Release};

impl Seen {
    /// What `rollout` has just started where `room` is.
    pub(super) fn started(release: &Release, rollout: &Rollout, room: Room) -> Self {
        Self {
            phase: Phase::Starting,
            wanted: true,
            rest: None,
            release: Some(release.clone()),
            // Its number is not known before.
            generation: None,
            rollout: Some(rollout.id),
            room,
        }
    }
}

impl World {
    /// The world once `step` of `rollout` has worked.
    pub(super) fn after(mut self, step: &Step, rollout: &Rollout) -> Self {
        in_slots(&mut self.slots, step, rollout);
        if let (Step::Publish { members }, Some(served)) = (step, &mut self.members) {
            served.clone_from(members);
            // One that does not run will start with it.
            self.proof = if self.proof == Proof::Down { Proof::Down } else { Proof::Agreed };
        }
        self
    }
}

/// What is in `slots` once `step` of `rollout` has worked.
pub(super) fn in_slots(slots: &mut BTreeMap<Slot, Seen>, step: &Step, rollout: &Rollout) {
    let slot = match step {
        Step::Start { slot, .. }
        | Step::AwaitReady { slot }
        | Step::Stop { slot }
        | Step::Replace { slot, .. }
        | Step::Dismiss { slot } => slot,
        Step::Publish { .. } | Step::Watch { .. } | Step::Hold { .. } | Step::Drain { .. } => {
            return;
        }
    };
    let Some(seen) = slots.get_mut(slot) else { return };
    match step {
        Step::Start { release, .. } => *seen = Seen::started(release, rollout, seen.room),
        Step::AwaitReady { .. } if seen.phase == Phase::Finished => {}
        Step::AwaitReady { .. } => seen.phase = Phase::Ready,
        Step::Stop { .. } => {
            seen.phase = Phase::Stopped;
            seen.wanted = false;
        }
        Step::Replace { release, .. } => {
            seen.phase = Phase::Ready;
            seen.release = Some(release.clone());
            seen.rollout = Some(rollout.id);
            seen.room = Room::Free;
        }
        Step::Dismiss { .. } => seen.room = Room::Free,
        Step::Publish { .. } | Step::Watch { .. } | Step::Hold { .. } | Step::Drain { .. } => {}
    }
}
