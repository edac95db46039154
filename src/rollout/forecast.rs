//! What a rollout will do, where nothing fails: the plan itself, played in a world in which each step
//! comes to what it is meant to. Pure.

use super::{
    plan::{Next, next_step},
    record::{Course, Rollout, Step},
    world::World,
};

/// More steps than any plan takes.
const LIMIT: usize = 200;

/// A step that a rollout will take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// Which.
    pub step: Step,
    /// What becomes of the rollout if it fails there.
    pub failure: Failure,
}

/// What becomes of a rollout that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It goes back to where it began by these steps; by none where nothing was done.
    Undone(Vec<Step>),
    /// It ends where it is (`S5`).
    Stays,
}

/// What `rollout` will do from now on, in `world`.
#[must_use]
pub fn forecast(rollout: &Rollout, world: &World) -> Vec<Foreseen> {
    let mut steps = vec![];
    play(rollout, world, |step, begun, world| {
        steps.push(Foreseen { step: step.clone(), failure: failure(step, begun, world) });
    });
    steps
}

/// The world as `rollout` means to leave it.
#[must_use]
pub fn outlook(rollout: &Rollout, world: &World) -> World {
    play(rollout, world, |_, _, _| ())
}

/// What `rollout` will do to undo what it has done, if it goes back now.
#[must_use]
pub fn undoing(rollout: &Rollout, world: &World) -> Vec<Step> {
    let back = Rollout { course: Course::Back, ..rollout.clone() };
    let mut steps = vec![];
    play(&back, world, |step, _, _| steps.push(step.clone()));
    steps
}

/// Shows `each` step with the rollout that has just begun it, and the world before its effect.
fn play(rollout: &Rollout, world: &World, mut each: impl FnMut(&Step, &Rollout, &World)) -> World {
    let (mut rollout, mut world) = (rollout.clone(), world.clone());
    for _ in 0..LIMIT {
        match next_step(&rollout, &world) {
            Next::Advance => rollout.advance(),
            Next::End(_) => break,
            Next::Do(step) => {
                rollout.begin(&step, &world, 0);
                each(&step, &rollout, &world);
                world = world.after(&step, &rollout);
                rollout.finish(Ok(None), 0);
            }
        }
    }
    world
}

fn failure(step: &Step, begun: &Rollout, world: &World) -> Failure {
    if !begun.can_turn_back() {
        return Failure::Stays;
    }
    // What is started may stand there all the same, and what is stopped may be gone. Anything else
    // puts back by itself what it has changed when it fails.
    let left = match step {
        Step::Start { .. } | Step::Stop { .. } => world.clone().after(step, begun),
        _ => world.clone(),
    };
    Failure::Undone(undoing(begun, &left))
}
