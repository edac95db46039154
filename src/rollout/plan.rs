//! The plan: from a rollout and the observed world to the next step. Reads no clock, no file, no
//! pid; the engine asks it again after each step, and after a crash in just the same way.

use std::collections::BTreeSet;

use super::{
    record::{Course, Loss, Outcome, Rollout, Stage, Start, Step, Want},
    world::{Proof, Room, Seen, World},
};
use crate::{
    ident::{Port, Slot},
    instance::Phase,
    nginx::{Members, Role},
};

/// What the engine is to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This effect.
    Do(Step),
    /// The stage is reached: on to the following one.
    Advance,
    /// The rollout is over.
    End(Outcome),
}

/// The next thing to do for `rollout` in `world`.
#[must_use]
pub fn next_step(rollout: &Rollout, world: &World) -> Next {
    match rollout.course {
        Course::Ended(outcome) => Next::End(outcome),
        Course::Back => match toward(&rollout.origin, rollout, world) {
            Some(step) => Next::Do(step),
            None => Next::End(Outcome::Undone),
        },
        Course::Forward => {
            let Some(stage) = rollout.stages.get(rollout.at) else {
                return Next::End(Outcome::Done);
            };
            if let Some(step) = toward(stage, rollout, world) {
                Next::Do(step)
            } else if let Some(slots) = to_watch(stage, rollout) {
                Next::Do(Step::Watch { slots })
            } else if let Some(slot) = to_hold(stage, rollout) {
                Next::Do(Step::Hold { slot })
            } else if rollout.at + 1 < rollout.stages.len() {
                Next::Advance
            } else {
                Next::End(Outcome::Done)
            }
        }
    }
}

/// The step that brings the world nearer to `stage`; `None` when it is there.
///
/// Its order is what keeps the invariants: what is replaced leaves the upstream first, while
/// another member serves (`T1`), and is drained (`T2`) before it is stopped; a start comes only
/// into an empty slot (`P3`); nothing is published before it is ready; and what is only stopped
/// goes last, when the rest serves.
fn toward(stage: &Stage, rollout: &Rollout, world: &World) -> Option<Step> {
    stage
        .wants
        .iter()
        .find_map(|(slot, want)| replace(*slot, want, stage, rollout, world))
        .or_else(|| await_ready(stage, rollout, world))
        .or_else(|| publish(stage, rollout.loss, world))
        .or_else(|| stop(stage, rollout, world))
}

/// The world is as `stage` wants it: nothing would have to be done.
#[must_use]
pub fn is_reached(stage: &Stage, world: &World) -> bool {
    let as_wanted = |(slot, want): &(Slot, Want)| match (want, world.slots.get(slot)) {
        (Want::Run { release, .. }, Some(seen)) => {
            let alone = seen.room != Room::Taken;
            seen.release.as_ref() == Some(release) && world.is_settled(*slot) && alone
        }
        (Want::Stopped, Some(seen)) => seen.phase == Phase::Stopped,
        (_, None) => true,
    };
    stage.wants.iter().all(as_wanted) && publish(stage, Loss::Never, world).is_none()
}

/// Brings the wanted instance into `slot`, removing whatever else is there.
fn replace(
    slot: Slot,
    want: &Want,
    stage: &Stage,
    rollout: &Rollout,
    world: &World,
) -> Option<Step> {
    let Want::Run { release, start, .. } = want else { return None };
    if *start == Start::AsIs {
        return None;
    }
    let seen = world.slots.get(&slot)?;
    let right = seen.release.as_ref() == Some(release)
        && (*start == Start::Any || seen.rollout == Some(rollout.id));
    if seen.phase == Phase::Stopping {
        return Some(Step::Stop { slot });
    }
    // What this rollout has started and lost already is not started once more: it is waited for,
    // and that fails. On the way back it has one more chance.
    let lost = rollout.course == Course::Forward
        && seen.rollout == Some(rollout.id)
        && matches!(seen.phase, Phase::Failed | Phase::Finished);
    if right && (seen.phase.is_up() || world.is_settled(slot) || lost) {
        return (seen.room == Room::Taken).then_some(Step::Dismiss { slot });
    }
    if seen.phase.is_up() && is_replaced_in_place(slot, stage, world) {
        return Some(Step::Replace { slot, release: release.clone(), start: *start });
    }
    if seen.phase.is_up() {
        return Some(leave(slot, stage, rollout, world, seen));
    }
    // It is gone and alone had the requests: who is ready gets them before it is started again.
    let alone = world.has_traffic(slot) && !is_covered(slot, world);
    if let Some(members) = without(slot, stage, world).filter(|_| alone) {
        return Some(Step::Publish { members });
    }
    if seen.phase == Phase::Failed && !right {
        return Some(Step::Stop { slot });
    }
    Some(Step::Start { slot, release: release.clone() })
}

/// Where the daemon holds the socket and nobody else is there to take the requests, new processes
/// take over in the same slot.
fn is_replaced_in_place(slot: Slot, stage: &Stage, world: &World) -> bool {
    let alone = world.has_traffic(slot) && without(slot, stage, world).is_none();
    world.is_held(slot) && (world.members.is_none() || alone)
}

/// Takes an instance out: from the upstream, from its requests, from its slot.
fn leave(slot: Slot, stage: &Stage, rollout: &Rollout, world: &World, seen: &Seen) -> Step {
    match without(slot, stage, world) {
        // Somebody else has emptied the upstream, perhaps.
        Some(members) if world.has_traffic(slot) || !is_covered(slot, world) => {
            return Step::Publish { members };
        }
        _ if !world.has_traffic(slot) => {}
        // `T1` has two exceptions: it is not well itself, or the loss was accepted.
        None if rollout.loss == Loss::Accepted || world.is_sick(slot) => {
            return Step::Stop { slot };
        }
        // A daemon that has just begun does not know yet how they are.
        None if !world.is_ready(slot) => return Step::AwaitReady { slot },
        Some(_) | None => return Step::AwaitReady { slot: other(slot, world) },
    }
    match (&world.members, world.proof) {
        (Some(members), Proof::Open) => return Step::Publish { members: members.clone() },
        (None, _) => return Step::Stop { slot },
        (Some(_), Proof::Agreed | Proof::Down) => {}
    }
    // Its requests are lost already; ending it lets nginx ask another member for them.
    if seen.phase == Phase::Hung {
        return Step::Stop { slot };
    }
    let never_exposed = seen.rollout == Some(rollout.id) && !rollout.exposed.contains(&slot);
    if never_exposed || rollout.drained.contains(&slot) {
        Step::Stop { slot }
    } else {
        Step::Drain { slot }
    }
}

/// The members while `slot` is out: every other one that is ready, and is a member now or is wanted
/// as one, serves. `None` when there is no such one (`T1`).
fn without(slot: Slot, stage: &Stage, world: &World) -> Option<Members> {
    let stays = |other: Slot| {
        let wanted = stage.wants.iter().find(|(named, _)| *named == other).map(|(_, want)| want);
        let release = world.slots.get(&other).and_then(|seen| seen.release.as_ref());
        match wanted {
            Some(Want::Stopped) => false,
            Some(Want::Run { release: right, role: Some(role), .. }) if release == Some(right) => {
                *role != Role::Preview
            }
            Some(Want::Run { .. }) | None => {
                world.role(other).is_some_and(|role| role != Role::Preview)
            }
        }
    };
    world.members.as_ref()?;
    let rest: Members = world
        .slots
        .keys()
        .filter(|other| **other != slot && world.is_ready(**other) && stays(**other))
        .filter_map(|other| Some((other.port()?, Role::Serving)))
        .collect();
    (!rest.is_empty()).then_some(rest)
}

/// Another one than `slot` gets the requests, and is well.
fn is_covered(slot: Slot, world: &World) -> bool {
    let mut others = world.slots.keys().filter(|other| **other != slot);
    others.any(|other| world.has_clients(*other) && world.is_ready(*other))
}

fn other(slot: Slot, world: &World) -> Slot {
    world.slots.keys().copied().find(|other| *other != slot).unwrap_or(slot)
}

/// Waits for whoever is to have traffic, and for what is new. On the way back, what was not well
/// before and kept its role is not waited for: it is no worse off.
fn await_ready(stage: &Stage, rollout: &Rollout, world: &World) -> Option<Step> {
    stage.wants.iter().find_map(|(slot, want)| {
        let Want::Run { role, start, .. } = want else { return None };
        let outside = role.is_none() && *start != Start::Fresh && world.members.is_some();
        let as_before = rollout.course == Course::Back
            && world.is_sick(*slot)
            && world.members.is_some()
            && world.role(*slot) == *role;
        (!outside && !as_before && !world.is_settled(*slot)).then(|| awaited(*slot, stage, world))
    })
}

/// Waits for `slot`. One that is ill and asked all the same leaves the upstream before, where another
/// one that is well is asked, too; it comes back with what `stage` wants of it.
fn awaited(slot: Slot, stage: &Stage, world: &World) -> Step {
    let is_asked = |slot: Slot| world.role(slot).is_some_and(Role::is_asked);
    let returns = stage.wants.iter().any(|(named, want)| {
        *named == slot && matches!(want, Want::Run { role: Some(role), .. } if role.is_asked())
    });
    let others = world.slots.keys().filter(|other| **other != slot);
    let well: Members = others
        .filter(|other| is_asked(**other) && world.is_ready(**other))
        .filter_map(|other| Some((other.port()?, Role::Serving)))
        .collect();
    if returns && is_asked(slot) && world.is_sick(slot) && !well.is_empty() {
        Step::Publish { members: well }
    } else {
        Step::AwaitReady { slot }
    }
}

/// Publishes the roles of the stage; slots that it does not name keep theirs. A member that is well
/// goes only while another one that is well stays (`T1`).
fn publish(stage: &Stage, loss: Loss, world: &World) -> Option<Step> {
    let served = world.members.as_ref()?;
    let members = roles(stage, served, world);
    if members == *served && world.proof != Proof::Open {
        return None;
    }
    let has_clients = |role: &Role| role.has_clients();
    let stays = |port: &Port| members.get(port).is_some_and(has_clients);
    let is_ready = |port: &Port| world.is_ready(Slot::Port(*port));
    let well_one_goes =
        served.iter().any(|(port, role)| has_clients(role) && !stays(port) && is_ready(port));
    let stay: Vec<Port> = members.keys().copied().filter(|port| stays(port)).collect();
    match stay.first() {
        Some(first) if well_one_goes && !stay.iter().any(is_ready) && loss == Loss::Never => {
            Some(awaited(Slot::Port(*first), stage, world))
        }
        _ => Some(Step::Publish { members }),
    }
}

/// A member that is no slot of the service (any more) goes: nobody looks after it.
fn roles(stage: &Stage, served: &Members, world: &World) -> Members {
    let mut members = served.clone();
    members.retain(|port, _| world.slots.contains_key(&Slot::Port(*port)));
    for (slot, want) in &stage.wants {
        let Some(port) = slot.port() else { continue };
        match want {
            Want::Run { role: Some(role), .. } => members.insert(port, *role),
            Want::Run { role: None, .. } | Want::Stopped => members.remove(&port),
        };
    }
    // One that nginx does not know at all need not be made known to it.
    if members.is_empty() && !served.is_empty() {
        let last = stage.wants.iter().find_map(|(slot, _)| slot.port());
        members.extend(last.map(|port| (port, Role::Down)));
    }
    members
}

/// Stops what is to be stopped; by now the upstream does not know it any more.
fn stop(stage: &Stage, rollout: &Rollout, world: &World) -> Option<Step> {
    stage.wants.iter().find_map(|(slot, want)| {
        let seen = world.slots.get(slot)?;
        if *want != Want::Stopped || seen.phase == Phase::Stopped {
            return None;
        }
        if seen.phase.is_up() && seen.phase != Phase::Stopping {
            return Some(leave(*slot, stage, rollout, world, seen));
        }
        Some(Step::Stop { slot: *slot })
    })
}

/// What clients do not see yet is held once per stage.
fn to_hold(stage: &Stage, rollout: &Rollout) -> Option<Slot> {
    let is_held = |want: &Want| matches!(want, Want::Run { role: Some(Role::Preview), .. });
    let held = stage.wants.iter().find(|(_, want)| is_held(want) && !rollout.watched);
    held.map(|(slot, _)| *slot)
}

/// What was started by this rollout and now serves is watched once per stage.
fn to_watch(stage: &Stage, rollout: &Rollout) -> Option<Vec<Slot>> {
    if !stage.watch || rollout.watched {
        return None;
    }
    let slots: BTreeSet<Slot> = stage
        .wants
        .iter()
        .filter(|(_, want)| matches!(want, Want::Run { role: Some(role), .. } if role.is_asked()))
        .map(|(slot, _)| *slot)
        .collect();
    (!slots.is_empty()).then(|| slots.into_iter().collect())
}
