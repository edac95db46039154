//! Which slots were in service, for when neither nginx nor its file can be asked. A hint (`S3`): what a
//! rollout wanted, not what was seen.

use super::record::{Course, Outcome, Rollout, Stage, Want};
use crate::{ident::Slot, nginx::Role, store::RolloutRow};

/// The slots that the newest of `rollouts` (of one service, newest first) to say so had in service;
/// none where none says so.
#[must_use]
pub fn was_serving(rollouts: &[RolloutRow]) -> Vec<Slot> {
    let rollouts = rollouts.iter().filter_map(|row| Rollout::read(row).ok());
    rollouts.map(|rollout| serving(&rollout)).find(|slots| !slots.is_empty()).unwrap_or_default()
}

fn serving(rollout: &Rollout) -> Vec<Slot> {
    let reached: Option<&Stage> = match rollout.course {
        Course::Forward => rollout.stages.get(rollout.at).or(rollout.stages.last()),
        Course::Ended(Outcome::Done) => rollout.stages.last(),
        Course::Back | Course::Ended(Outcome::Undone) => Some(&rollout.origin),
        Course::Ended(Outcome::Stuck) => None,
    };
    let wants = reached.iter().flat_map(|stage| &stage.wants);
    let serving =
        wants.filter(|(_, want)| matches!(want, Want::Run { role: Some(Role::Serving), .. }));
    serving.map(|(slot, _)| *slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ident::{Port, ReleaseId, RolloutId},
        release::Release,
        rollout::{
            draft::Draft,
            plan_tests::begun,
            record::{Kind, Loss, Start},
        },
    };

    fn slot(port: u16) -> Slot {
        Slot::Port(Port::new(port).unwrap())
    }

    fn on(port: u16) -> Stage {
        let release = Release { id: ReleaseId("v1".to_owned()), directory: "/srv/v1".into() };
        let run = Want::Run { release, start: Start::Any, role: Some(Role::Serving) };
        Stage { wants: vec![(slot(port), run)], watch: false }
    }

    /// A swap from 8000 to 8001.
    fn swap(id: u64, course: Course) -> RolloutRow {
        let draft = Draft {
            origin: on(8000),
            served: vec![slot(8000)].into_iter().collect(),
            stages: vec![on(8001)],
            release: None,
            loss: Loss::Never,
            preview: None,
        };
        Rollout { course, ..begun(RolloutId(id), Kind::Swap, None, draft) }.row()
    }

    #[test]
    fn the_newest_rollout_that_says_so_counts() {
        let done = || swap(1, Course::Ended(Outcome::Done));
        let undone = || swap(2, Course::Ended(Outcome::Undone));
        let stuck = || swap(3, Course::Ended(Outcome::Stuck));
        assert_eq!(was_serving(&[done()]), [slot(8001)]);
        assert_eq!(was_serving(&[undone(), done()]), [slot(8000)]);
        assert_eq!(was_serving(&[stuck(), done()]), [slot(8001)]);
        assert_eq!(was_serving(&[swap(4, Course::Forward)]), [slot(8001)]);
        assert!(was_serving(&[]).is_empty());
    }
}
