//! The invariants of the design, as what must be so of a state, of a decision and of an effect.

use super::{
    reality::{Harm, Reality},
    state::State,
};
use crate::{
    config::Service,
    ident::Slot,
    instance::Phase,
    nginx::Role,
    rollout::{
        draft::{Request, draft},
        plan::{Next, next_step},
        plan_tests::{begun, release, service},
        record::{Course, Kind, Loss, Outcome, Rollout, Stage, Step, Want},
        way_out::{self, WayOut},
        world::{Proof, World},
    },
};

type Held = Result<(), String>;

fn holds(is_so: bool, otherwise: impl FnOnce() -> String) -> Held {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

/// The promise itself: while nobody else did harm, somebody who is ready gets the requests.
pub(super) fn nobody_is_turned_away(state: &State) -> Held {
    let rollout = &state.durable;
    let excused = state.reality.harm == Harm::Done
        || rollout.loss == Loss::Accepted
        || state.reality.front.is_none();
    holds(excused || state.reality.answers(), || "T1: nobody is there to answer".to_owned())
}

/// What may be decided, by what is seen and by what is so.
pub(super) fn decision(state: &State, rollout: &Rollout, world: &World, next: &Next) -> Held {
    match next {
        Next::Do(step) => step_is_allowed(&state.reality, rollout, world, step),
        Next::End(outcome) => ending(&state.reality, rollout, *outcome),
        Next::Advance => {
            let left = rollout.stages.get(rollout.at).unwrap_or(&rollout.origin);
            let is_shown = |(_, want): &(Slot, Want)| {
                matches!(want, Want::Run { role: Some(Role::Preview), .. })
            };
            let passed = rollout.watched || !left.watch && !left.wants.iter().any(is_shown);
            holds(passed, || {
                "hold: a stage is left that was not watched, or not promoted".to_owned()
            })
        }
    }
}

fn step_is_allowed(reality: &Reality, rollout: &Rollout, world: &World, step: &Step) -> Held {
    match step {
        Step::Start { slot, .. } => {
            let there = &reality.slots[slot];
            holds(!there.phase.is_up(), || format!("P3: {slot} is not empty: {:?}", there.phase))
        }
        Step::Publish { members } => {
            for (port, role) in members {
                let slot = Slot::Port(*port);
                let joins = role.has_clients() && !world.has_clients(slot);
                let was_there = rollout.course == Course::Back;
                let is_ready = world.is_ready(slot);
                holds(!joins || is_ready || was_there, || format!("T1: {port} is not ready"))?;
                let is_held = rollout.preview.as_ref().is_some_and(|held| held.slot == slot);
                let decided = rollout.at > 0 || !is_held || was_there;
                holds(!joins || decided, || format!("hold: {port} was not promoted"))?;
            }
            let goes = |slot: &Slot| {
                let stays = slot.port().and_then(|port| members.get(&port));
                world.has_clients(*slot) && stays.is_none_or(|role| !role.has_clients())
            };
            let well_one_goes = world.slots.keys().any(|slot| goes(slot) && world.is_ready(*slot));
            let well_one_stays = members
                .iter()
                .any(|(port, role)| role.has_clients() && world.is_ready(Slot::Port(*port)));
            let allowed = !well_one_goes || well_one_stays || rollout.loss == Loss::Accepted;
            holds(allowed, || format!("T1: {members:?} leaves nobody who is well"))
        }
        Step::Stop { slot } => {
            let another = world.slots.keys().any(|other| other != slot && world.is_ready(*other));
            let needed = match reality.slots[slot].phase {
                Phase::Ready => true,
                Phase::Starting | Phase::Unready | Phase::Backoff => another,
                _ => false,
            };
            let used = reality.busy.contains(slot) || reality.is_served(*slot);
            let allowed = !needed || !used || rollout.loss == Loss::Accepted;
            holds(allowed, || format!("T2: {slot} is stopped while nginx may send to it"))
        }
        Step::Drain { slot } => {
            holds(!reality.is_served(*slot), || format!("T2: {slot} is drained while it serves"))
        }
        Step::AwaitReady { .. }
        | Step::Watch { .. }
        | Step::Hold { .. }
        | Step::Replace { .. }
        | Step::Dismiss { .. } => Ok(()),
    }
}

/// `S1` and `S5`, where an effect begins: its intent is durable, and so is that there is no way back.
pub(super) fn effect(state: &State, step: &Step) -> Held {
    let rollout = &state.durable;
    let intent = rollout.steps.last().map(|taken| &taken.step);
    holds(intent == Some(step), || format!("S1: {step:?} is nowhere written down"))?;
    let Step::Stop { slot } = step else { return Ok(()) };
    let left =
        rollout.served.iter().any(|served| served != slot && !rollout.stopped.contains(served));
    let last = rollout.served.contains(slot) && !left && !rollout.exposed.is_empty();
    let known = rollout.committed || rollout.course != Course::Forward;
    holds(!last || known, || format!("S5: {slot} is the last of the old, and there is a way back"))
}

/// `S3` and `S5`: what is said at the end is so.
fn ending(reality: &Reality, rollout: &Rollout, outcome: Outcome) -> Held {
    match outcome {
        Outcome::Done => agrees(reality, rollout.stages.last().unwrap_or(&rollout.origin), "done"),
        Outcome::Undone => {
            holds(!rollout.committed, || "S5: undone after the point of no return".to_owned())?;
            match reality.harm {
                Harm::None => agrees(reality, &rollout.origin, "undone"),
                // It is no worse off than before, which is not known to the model.
                Harm::Done => proven(reality, "undone"),
            }
        }
        Outcome::Stuck => {
            holds(rollout.failure.is_some(), || "stuck, and nobody says why".to_owned())
        }
    }
}

fn proven(reality: &Reality, word: &str) -> Held {
    let open = reality.observe().proof == Proof::Open;
    holds(!open, || format!("S3: {word}, and nginx serves something else than its file says"))
}

fn agrees(reality: &Reality, stage: &Stage, said: &str) -> Held {
    proven(reality, said)?;
    let world = reality.observe();
    for (slot, want) in &stage.wants {
        let seen = &reality.slots[slot];
        let is_so = match want {
            Want::Stopped => !seen.phase.is_up() && !world.has_traffic(*slot),
            Want::Run { release, role, .. } => {
                let in_role = world.members.is_none() || world.role(*slot) == *role;
                seen.release.as_ref() == Some(release) && in_role
            }
        };
        holds(is_so, || format!("S3: {said}, and {slot} is {:?} {:?}", seen.phase, world.members))?;
    }
    Ok(())
}

/// From where a rollout ended badly, a command leads out, once nothing else fails: each of those that
/// are told then, and `rolling --force` of something else.
pub(super) fn leads_out(state: &State) -> Held {
    if state.outcome() != Some(Outcome::Stuck) {
        return Ok(());
    }
    let slots: Vec<String> = state.reality.slots.keys().map(ToString::to_string).collect();
    let service = service(&format!("[{}]", slots.join(", ")), "stopped");
    let mut ways = way_out::ways_out(&state.durable, &service, &state.reality.observe());
    let brings = matches!(state.durable.kind, Kind::Rolling | Kind::Swap | Kind::Rollback);
    holds(!brings || !ways.is_empty(), || "stuck, and no way out is told".to_owned())?;
    let gets_all = state.reality.slots.len() == 2 && state.reality.answers();
    let gentle = ways.iter().all(|way| way.loss == Loss::Never);
    holds(!gets_all || gentle, || "stuck while one serves, and told to lose requests".to_owned())?;
    ways.push(WayOut { release: release("v3"), loss: Loss::Accepted });
    ways.into_iter().try_for_each(|way| leads_out_by(way, &service, state))
}

fn leads_out_by(way: WayOut, service: &Service, state: &State) -> Held {
    let mut reality = state.reality.clone();
    // nginx is started again, by its own supervisor.
    reality.recoveries().into_iter().for_each(|(name, back)| {
        if name.starts_with("nginx") {
            reality = back;
        }
    });
    let asked = Request { loss: way.loss, ..Request::of(Kind::Rolling, way.release) };
    let drafted =
        draft(&asked, service, &reality.observe()).map_err(|no| format!("stuck: {no}"))?;
    let mut rollout = begun(crate::ident::RolloutId(8), Kind::Rolling, None, drafted);
    for _ in 0..60 {
        let world = reality.observe();
        match next_step(&rollout, &world) {
            Next::Advance => rollout.advance(),
            Next::End(Outcome::Done) => {
                let answers = reality.front.is_none() || reality.answers();
                return holds(answers, || "stuck: rolling is done, and nobody answers".to_owned());
            }
            Next::End(other) => return Err(format!("stuck: rolling comes out {other:?}")),
            Next::Do(step) => {
                rollout.begin(&step, &world, 0);
                let effects = reality.effects(&step, &rollout);
                let effect = effects.into_iter().find(|effect| effect.faults == 0);
                let effect = effect.ok_or_else(|| format!("stuck: {step:?} cannot be done"))?;
                let result = effect.result.map(|()| None).map_err(|()| "it failed".to_owned());
                rollout.finish(result, 0);
                reality = effect.reality;
            }
        }
    }
    Err("stuck: rolling does not come to an end".to_owned())
}
