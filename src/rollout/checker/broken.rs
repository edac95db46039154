//! Plans that are broken on purpose: the search must find out.

use super::{
    super::{
        plan::{Next, next_step},
        record::{Outcome, Rollout, Step},
        world::{Proof, World},
    },
    check, scenes,
};
use crate::instance::Phase;

/// Takes every drain for done.
fn without_drain(rollout: &Rollout, world: &World) -> Next {
    let mut drained = rollout.clone();
    drained.drained.extend(world.slots.keys().copied());
    next_step(&drained, world)
}

/// Takes what starts for ready.
fn publish_before_ready(rollout: &Rollout, world: &World) -> Next {
    let mut hopeful = world.clone();
    for seen in hopeful.slots.values_mut().filter(|seen| seen.phase == Phase::Starting) {
        seen.phase = Phase::Ready;
    }
    next_step(rollout, &hopeful)
}

/// Takes a publish for proved as soon as it was begun.
fn stop_before_proof(rollout: &Rollout, world: &World) -> Next {
    let mut hopeful = world.clone();
    if world.proof == Proof::Open
        && let Some(Step::Publish { members }) = rollout.steps.last().map(|taken| &taken.step)
    {
        hopeful.members = Some(members.clone());
        hopeful.proof = Proof::Agreed;
    }
    next_step(rollout, &hopeful)
}

/// Takes what a new daemon has not probed yet for ill.
fn unprobed_is_ill(rollout: &Rollout, world: &World) -> Next {
    let mut hasty = world.clone();
    for (slot, seen) in &mut hasty.slots {
        if seen.phase == Phase::Starting && world.has_traffic(*slot) {
            seen.phase = Phase::Unready;
        }
    }
    next_step(rollout, &hasty)
}

/// Stops and starts in place, as a script does.
fn restart_in_place(rollout: &Rollout, world: &World) -> Next {
    match next_step(rollout, world) {
        Next::Do(Step::Start { slot, release }) if slot != scenes::blue() => {
            Next::Do(Step::Start { slot: scenes::blue(), release })
        }
        next => next,
    }
}

/// Finds something to do for ever.
fn never_gives_up(rollout: &Rollout, world: &World) -> Next {
    match next_step(rollout, world) {
        Next::End(_) => Next::Do(Step::Watch { slots: vec![] }),
        next => next,
    }
}

/// Says that it is done when it would begin to clean up.
fn done_too_early(rollout: &Rollout, world: &World) -> Next {
    match next_step(rollout, world) {
        Next::Do(Step::Drain { .. } | Step::Stop { .. }) => Next::End(Outcome::Done),
        next => next,
    }
}

/// Takes what is ready for promoted.
fn promotes_by_itself(rollout: &Rollout, world: &World) -> Next {
    match next_step(rollout, world) {
        Next::Do(Step::Hold { .. }) => Next::Advance,
        next => next,
    }
}

/// Takes a share for passed as soon as it is published.
fn watches_nothing(rollout: &Rollout, world: &World) -> Next {
    match next_step(rollout, world) {
        Next::Do(Step::Watch { .. }) => Next::Advance,
        next => next,
    }
}

#[test]
fn no_share_is_passed_unwatched() {
    let caught = check(scenes::swap_by_shares(0), watches_nothing).expect_err("it is broken");
    assert!(caught.what.starts_with("hold: "), "{caught:#?}");
}

#[test]
fn nobody_is_promoted_but_by_an_operator() {
    let caught = check(scenes::held_swap(0), promotes_by_itself).expect_err("it is broken");
    assert!(caught.what.starts_with("hold: "), "{caught:#?}");
}

#[test]
fn a_broken_plan_is_caught() {
    let broken: [(&str, super::Plan, &str); 7] = [
        ("drain left out", without_drain, "T2: "),
        ("publish before ready", publish_before_ready, "T1: "),
        ("stop before proof", stop_before_proof, "T2: "),
        ("unprobed is ill", unprobed_is_ill, "T2: "),
        ("restart in place", restart_in_place, "P3: "),
        ("never gives up", never_gives_up, "it never ends"),
        ("done too early", done_too_early, "S3: "),
    ];
    for (name, plan, invariant) in broken {
        let caught = check(scenes::rolling(2), plan).expect_err(name);
        assert!(caught.what.starts_with(invariant), "{name}: {caught:#?}");
        println!("{name}: {} after {} moves", caught.what, caught.path.len() - 1);
    }
}
