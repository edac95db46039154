//! Whether there is an old colour to go back to: what the last rollouts of a service left.

use super::{
    EngineError,
    draft::Refusal,
    engine::Engine,
    record::{Kind, Outcome, Rollout},
};
use crate::ident::ServiceName;

/// It says what the other slot is: after it, nothing went from one colour to the other, and neither
/// got another release.
fn tells(rollout: &Rollout) -> bool {
    let keeps_colours = matches!(
        rollout.kind,
        Kind::Boot
            | Kind::Start
            | Kind::Stop
            | Kind::Restart
            | Kind::Relieve
            | Kind::Restore
            | Kind::Replace
    );
    !keeps_colours && rollout.outcome() != Some(Outcome::Undone)
}

/// Why the other slot is not what was before, though it may be ready. `last` is the newest rollout of
/// the service that [`tells`].
fn not_warm(last: Option<&Rollout>) -> Option<String> {
    let Some(last) = last else { return Some("it was not swapped".to_owned()) };
    let (id, kind) = (last.id, last.kind.word());
    match (last.kind, last.outcome()) {
        (Kind::Swap, Some(Outcome::Done)) => None,
        (Kind::Rollback, Some(Outcome::Done)) => {
            Some(format!("rollout {id} went back already; `aibkctl swap` goes forward again"))
        }
        (Kind::Retire, _) => Some(format!("rollout {id} stopped it, after `rollout.keep_old`")),
        _ => Some(format!("rollout {id} ({kind}) came after the last swap")),
    }
}

impl Engine {
    /// Refuses where the other slot of `service` is not its old colour.
    pub(super) async fn has_old_colour(&self, service: &ServiceName) -> Result<(), EngineError> {
        match not_warm(self.newest_that(service, tells).await?.as_ref()) {
            Some(why) => Err(Refusal::NothingWarm(service.clone(), why).into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ident::RolloutId,
        nginx::Role,
        rollout::{
            draft::draft,
            plan_tests::{begun, both, request, service},
            record::Loss,
        },
    };

    fn said(history: &[(Kind, Outcome)]) -> Option<String> {
        let service = service("[8000, 8001]", "stopped");
        let asked = request(Kind::Swap, None, Loss::Never);
        let drafted = draft(&asked, &service, &both(Role::Backup)).unwrap();
        let of = |(id, (kind, outcome)): (u64, &(Kind, Outcome))| {
            let mut rollout = begun(RolloutId(id), *kind, None, drafted.clone());
            rollout.end(*outcome, 1);
            rollout
        };
        let mut rollouts: Vec<Rollout> = (1..).zip(history).map(of).collect();
        rollouts.reverse();
        not_warm(rollouts.iter().find(|rollout| tells(rollout)))
    }

    #[test]
    fn only_what_a_swap_left_is_gone_back_to() {
        use Outcome::{Done, Stuck, Undone};
        let swap = (Kind::Swap, Done);
        let warm = [
            vec![swap],
            vec![(Kind::Rolling, Done), swap, (Kind::Rolling, Undone), (Kind::Boot, Stuck)],
            vec![swap, (Kind::Restart, Done), (Kind::Relieve, Done), (Kind::Restore, Done)],
        ];
        for history in warm {
            assert_eq!(said(&history), None, "{history:?}");
        }
        let cold = [
            (vec![], "not swapped"),
            (vec![(Kind::Swap, Undone), (Kind::Start, Done)], "not swapped"),
            (vec![swap, (Kind::Retire, Done)], "rollout 2 stopped it"),
            (vec![swap, (Kind::Rolling, Done)], "rollout 2 (rolling)"),
            (vec![swap, (Kind::Swap, Stuck)], "rollout 2 (swap)"),
            (vec![swap, (Kind::Rollback, Done)], "rollout 2 went back"),
        ];
        for (history, why) in cold {
            let said = said(&history);
            assert!(said.as_ref().is_some_and(|said| said.contains(why)), "{history:?}: {said:?}");
        }
    }
}
