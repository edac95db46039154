//! The service and nginx as they are, and what effects and faults make of them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    intended::in_slots,
    record::{Rollout, Step},
    world::{Proof, Room, Seen, World},
};
use crate::{
    ident::Slot,
    instance::Phase,
    nginx::{Members, Role},
};

/// The service and nginx as they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Reality {
    pub(super) slots: BTreeMap<Slot, Seen>,
    /// `None` for a service that is not behind nginx.
    pub(super) front: Option<Front>,
    /// Slots that a request, or an old worker of nginx, may still need.
    pub(super) busy: BTreeSet<Slot>,
    /// Slots of which the daemon, which has just begun, does not know yet that they are ready.
    pub(super) unprobed: BTreeSet<Slot>,
    /// Whether something but aibk has done harm: what is lost over it is not the plan's doing.
    pub(super) harm: Harm,
}

/// nginx and its file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Front {
    pub(super) file: Members,
    /// `None` while it does not run.
    pub(super) serves: Option<Members>,
}

/// Whether something but aibk has done harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Harm {
    None,
    Done,
}

/// What an effect came to, by name.
pub(super) struct Effect {
    pub(super) name: &'static str,
    pub(super) reality: Reality,
    pub(super) result: Result<(), ()>,
    /// What it costs of the faults that a run may meet.
    pub(super) faults: u8,
}

impl Reality {
    pub(super) fn of(world: World) -> Self {
        let front = world.members.map(|members| Front {
            file: members.clone(),
            serves: (world.proof != Proof::Down).then_some(members),
        });
        let (busy, unprobed) = (BTreeSet::new(), BTreeSet::new());
        Self { slots: world.slots, front, busy, unprobed, harm: Harm::None }.with_requests()
    }

    /// As the engine sees it (`Crew::observe`).
    pub(super) fn observe(&self) -> World {
        let (members, proof) = match &self.front {
            None => (None, Proof::Agreed),
            Some(Front { file, serves: None }) => (Some(file.clone()), Proof::Down),
            Some(Front { file, serves: Some(serves) }) => {
                let proof = if serves == file { Proof::Agreed } else { Proof::Open };
                (Some(serves.clone()), proof)
            }
        };
        let mut slots = self.slots.clone();
        for slot in self.unprobed.iter().filter(|slot| self.slots[slot].phase == Phase::Ready) {
            slots.entry(*slot).and_modify(|seen| seen.phase = Phase::Starting);
        }
        World { slots, members, proof }
    }

    /// nginx sends requests to the slot.
    pub(super) fn is_served(&self, slot: Slot) -> bool {
        let serves = self.front.as_ref().and_then(|front| front.serves.as_ref());
        let role = slot.port().and_then(|port| serves?.get(&port));
        role.is_some_and(|role| *role != Role::Down)
    }

    /// Somebody is there to answer what comes through nginx.
    pub(super) fn answers(&self) -> bool {
        let serves = self.front.as_ref().and_then(|front| front.serves.as_ref());
        let has_clients = |slot: &Slot| {
            let role = slot.port().and_then(|port| serves?.get(&port));
            role.is_some_and(|role| role.has_clients())
        };
        let ready = |(slot, seen): (&Slot, &Seen)| seen.phase == Phase::Ready && has_clients(slot);
        self.slots.iter().any(ready)
    }

    pub(super) fn seen(&mut self, slot: Slot) -> &mut Seen {
        self.slots.get_mut(&slot).expect("a slot of the scene")
    }

    /// As a daemon finds it that has just begun.
    pub(super) fn adopted(&self) -> Self {
        let ready = self.slots.iter().filter(|(_, seen)| seen.phase == Phase::Ready);
        Self { unprobed: ready.map(|(slot, _)| *slot).collect(), ..self.clone() }
    }

    /// Every member has requests that last.
    fn with_requests(mut self) -> Self {
        let served: Vec<Slot> =
            self.slots.keys().copied().filter(|slot| self.is_served(*slot)).collect();
        let up = |slot: &Slot| self.slots[slot].phase.is_up();
        self.busy = self.busy.iter().copied().chain(served).filter(up).collect();
        self
    }

    fn with_phase(mut self, slot: Slot, phase: Phase) -> Self {
        self.seen(slot).phase = phase;
        self.with_requests()
    }

    fn with_front(mut self, file: &Members, serves: Option<&Members>) -> Self {
        self.front = Some(Front { file: file.clone(), serves: serves.cloned() });
        self.with_requests()
    }

    /// What `step` can come to, but for the daemon's death.
    pub(super) fn effects(&self, step: &Step, rollout: &Rollout) -> Vec<Effect> {
        let works = |reality| Effect { name: "works", reality, result: Ok(()), faults: 0 };
        let fails = |name, reality| Effect { name, reality, result: Err(()), faults: 1 };
        let must_fail = |name| Effect { name, reality: self.clone(), result: Err(()), faults: 0 };
        match step {
            Step::Start { slot, .. } => {
                let there = self.after(step, rollout);
                let given_up = there.clone().with_phase(*slot, Phase::Failed);
                let again = there.clone().with_phase(*slot, Phase::Backoff);
                vec![
                    works(there),
                    fails("does not start", given_up),
                    fails("dies at once", again),
                    fails("is refused", self.clone()),
                ]
            }
            Step::AwaitReady { slot } => match self.slots[slot].phase {
                Phase::Stopped | Phase::Failed => vec![must_fail("is not there")],
                Phase::Finished if self.front.is_some() => vec![must_fail("is not there")],
                Phase::Ready | Phase::Finished => vec![works(self.after(step, rollout))],
                _ => vec![
                    works(self.after(step, rollout)),
                    fails("is not ready in time", self.clone()),
                    fails("gives up", self.clone().with_phase(*slot, Phase::Failed)),
                ],
            },
            Step::Watch { slots } if slots.iter().all(|slot| self.is_well(*slot)) => {
                vec![works(self.clone())]
            }
            Step::Watch { .. } => vec![must_fail("sees trouble")],
            Step::Hold { slot } => match self.slots[slot].phase {
                Phase::Ready | Phase::Unready | Phase::Starting => {
                    vec![works(self.clone()), fails("is promoted by nobody", self.clone())]
                }
                _ => vec![must_fail("sees trouble")],
            },
            Step::Publish { members } => self.publishes(members, rollout),
            Step::Drain { .. } => {
                vec![works(self.after(step, rollout)), fails("is not drained", self.clone())]
            }
            Step::Stop { slot } => vec![
                works(self.after(step, rollout)),
                fails("does not end", self.clone().with_phase(*slot, Phase::Failed)),
            ],
            Step::Replace { slot, .. } => {
                let mut beside = self.clone();
                beside.seen(*slot).room = Room::Taken;
                let mut faced = self.after(step, rollout);
                faced.seen(*slot).room = Room::Taken;
                vec![
                    works(self.after(step, rollout)),
                    fails("is dismissed", self.clone()),
                    fails("stands beside", beside),
                    fails("is not drained", faced),
                ]
            }
            Step::Dismiss { .. } => {
                vec![works(self.after(step, rollout)), fails("does not end", self.clone())]
            }
        }
    }

    /// Watched, it gives no trouble.
    fn is_well(&self, slot: Slot) -> bool {
        let done = self.front.is_none() && self.slots[&slot].phase == Phase::Finished;
        self.slots[&slot].phase == Phase::Ready && !self.unprobed.contains(&slot) || done
    }

    /// What `nginx::publish` can come to.
    fn publishes(&self, members: &Members, rollout: &Rollout) -> Vec<Effect> {
        let Some(front) = &self.front else {
            return vec![Effect {
                name: "works",
                reality: self.clone(),
                result: Ok(()),
                faults: 0,
            }];
        };
        let Some(serves) = &front.serves else {
            let (file, result) =
                if rollout.can_turn_back() { (&front.file, Err(())) } else { (members, Ok(())) };
            let reality = self.clone().with_front(file, None);
            return vec![Effect { name: "has no nginx", reality, result, faults: 0 }];
        };
        let fails = |name, file, serves| {
            let reality = self.clone().with_front(file, Some(serves));
            Effect { name, reality, result: Err(()), faults: 1 }
        };
        let published = self.clone().with_front(members, Some(members));
        vec![
            Effect { name: "works", reality: published, result: Ok(()), faults: 0 },
            fails("is refused and put back", &front.file, serves),
            fails("is refused and stays in the file", members, serves),
            fails("is served and not in the file", &front.file, members),
        ]
    }

    /// The world after `step` has worked.
    fn after(&self, step: &Step, rollout: &Rollout) -> Self {
        let mut after = self.clone();
        in_slots(&mut after.slots, step, rollout);
        match step {
            Step::AwaitReady { slot } if after.slots[slot].phase == Phase::Ready => {
                after.unprobed.remove(slot);
            }
            Step::Drain { slot } => drop(after.busy.remove(slot)),
            _ => {}
        }
        after.with_requests()
    }

    /// Where a daemon that dies in the middle of `step` leaves things.
    pub(super) fn halfway(&self, step: &Step, rollout: &Rollout) -> Vec<(&'static str, Self)> {
        match (step, &self.front) {
            (Step::Publish { members }, Some(front)) => {
                let serves = front.serves.as_ref();
                vec![("the file is replaced", self.clone().with_front(members, serves))]
            }
            (Step::Replace { slot, .. }, _) => {
                let mut beside = self.clone();
                beside.seen(*slot).room = Room::Taken;
                let mut faced = self.after(step, rollout);
                faced.seen(*slot).room = Room::Taken;
                vec![("it stands beside", beside), ("it faces", faced)]
            }
            (Step::Stop { slot }, _) => {
                vec![("it is stopping", self.clone().with_phase(*slot, Phase::Stopping))]
            }
            _ => vec![],
        }
    }

    /// What happens by itself, and is no harm.
    pub(super) fn recoveries(&self) -> Vec<(String, Self)> {
        let mut all = vec![];
        for (slot, seen) in &self.slots {
            if matches!(seen.phase, Phase::Unready | Phase::Backoff) {
                all.push((
                    format!("{slot} recovers"),
                    self.clone().with_phase(*slot, Phase::Ready),
                ));
            }
        }
        for slot in &self.unprobed {
            let mut probed = self.clone();
            probed.unprobed.remove(slot);
            all.push((format!("{slot} answers its probe"), probed));
        }
        if let Some(Front { file, serves: None }) = &self.front {
            let back = self.clone().with_front(file, Some(file));
            all.push(("nginx is started again".to_owned(), back));
        }
        all
    }

    /// What somebody else, or bad luck, can do to it.
    pub(super) fn faults(&self) -> Vec<(String, Self)> {
        let mut all = vec![];
        let mut harm = |what: String, reality: Self| {
            all.push((what, Self { harm: Harm::Done, ..reality }));
        };
        for (slot, seen) in &self.slots {
            let ends = [
                (Phase::Backoff, "dies"),
                (Phase::Failed, "dies for good"),
                (Phase::Hung, "hangs"),
                (Phase::Unready, "is not ready any more"),
            ];
            for (phase, how) in ends {
                let can =
                    seen.phase.is_up() && seen.phase != Phase::Stopping && seen.phase != phase;
                if can && (seen.phase == Phase::Ready || !matches!(phase, Phase::Unready)) {
                    harm(format!("{slot} {how}"), self.clone().with_phase(*slot, phase));
                }
            }
        }
        if let Some(Front { file, serves: Some(serves) }) = &self.front {
            let mut dead = self.clone().with_front(file, None);
            // Whose requests it was passing on gets no answer any more.
            dead.busy.clear();
            harm("nginx dies".to_owned(), dead);
            if file != serves {
                let reloaded = self.clone().with_front(file, Some(file));
                harm("somebody reloads nginx".to_owned(), reloaded);
            }
            let ports = self.slots.keys().filter_map(|slot| slot.port());
            let everyone: Members = ports.map(|port| (port, Role::Serving)).collect();
            let nobody = Members::new();
            harm("the file is deleted".to_owned(), self.clone().with_front(&nobody, Some(serves)));
            let edited = self.clone().with_front(&everyone, Some(&everyone));
            harm("the file is edited, and nginx reloaded".to_owned(), edited);
        }
        all
    }
}
