//! A worker that hangs is replaced alone, on the same socket: another one starts beside it, and takes
//! what waits there; once that is ready, the one that hangs is ended.

use super::{Set, Team};
use crate::{
    ident::{Generation, Worker},
    instance::{Instance, InstanceError, Phase, View},
};

/// One that hangs, and who is to take its place, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Relay {
    old: u16,
    /// Which start of it hangs.
    of: Option<Generation>,
    new: u16,
}

/// What is to be done about a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The new one is on its way.
    Wait,
    /// The new one is there: the old one goes.
    Relieve,
    /// The new one does not come up: the old one is started again.
    GiveUp,
    /// The old one has died meanwhile, and is started again: the new one is not needed.
    Spare,
    /// The old one goes already.
    Done,
}

/// What is to be done for the one that hung in its start `of`, by what both are now; `None`: it is not
/// there any more. One that wakes up is replaced all the same: it has left its clients waiting once.
fn turn(of: Option<Generation>, old: Option<&View>, new: Option<&View>) -> Turn {
    let Some(old) = old.filter(|old| old.wanted) else { return Turn::Done };
    match new {
        _ if old.generation != of => Turn::Spare,
        Some(new) if new.phase == Phase::Ready => Turn::Relieve,
        Some(new) if new.death.is_none() && new.phase.is_up() => Turn::Wait,
        _ => Turn::GiveUp,
    }
}

impl Team {
    /// Takes care of workers that hang.
    pub(super) async fn relay(&mut self) -> Result<(), InstanceError> {
        let Some(mut set) = self.facing.take() else { return Ok(()) };
        let done = self.relay_in(&mut set).await;
        self.facing = Some(set);
        done
    }

    async fn relay_in(&mut self, set: &mut Set) -> Result<(), InstanceError> {
        for view in set.views() {
            let Some(Worker { number: old, .. }) = view.id.worker else { continue };
            let known = set.relays.iter().any(|relay| relay.old == old);
            let Some(release) = view.release.filter(|_| view.phase == Phase::Hung && !known) else {
                continue;
            };
            let new = set.free_number();
            let worker = Worker { side: set.side(), number: new };
            let branch = self.branch(worker)?;
            set.add(self.id.with_worker(worker), None, branch, &self.service, &self.ground);
            set.relays.push(Relay { old, of: view.generation, new });
            if let Some(instance) = set.worker(new) {
                instance.start(release, view.rollout).await?;
            }
        }
        for relay in set.relays.clone() {
            let (old, new) = (set.worker(relay.old), set.worker(relay.new));
            let of = |worker: Option<&Instance>| worker.map(Instance::view);
            let turn = turn(relay.of, of(old).as_ref(), of(new).as_ref());
            match (turn, old, new) {
                (Turn::Wait, ..) => continue,
                (Turn::Relieve, Some(old), _) => old.stop().await?,
                (Turn::Spare, _, Some(new)) => new.stop().await?,
                (Turn::GiveUp, Some(old), new) => {
                    if let Some(new) = new {
                        new.stop().await?;
                    }
                    old.forsake().await?;
                }
                _ => {}
            }
            set.relays.retain(|other| *other != relay);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::{Cause, Death};

    fn view(phase: Phase, wanted: bool) -> View {
        View { phase, wanted, ..View::unknown("api@8000.a1".parse().unwrap()) }
    }

    #[test]
    fn the_old_one_goes_only_for_a_new_one_that_is_ready() {
        let hung = view(Phase::Hung, true);
        let after = |old: &View, new: &View| turn(None, Some(old), Some(new));
        assert_eq!(after(&hung, &view(Phase::Starting, true)), Turn::Wait);
        assert_eq!(after(&hung, &view(Phase::Ready, true)), Turn::Relieve);
        assert_eq!(after(&hung, &view(Phase::Failed, true)), Turn::GiveUp);
        let cause = Cause::System("no".to_owned());
        let death =
            Some(std::sync::Arc::new(Death { generation: None, cause, last_lines: vec![] }));
        assert_eq!(after(&hung, &View { death, ..view(Phase::Starting, true) }), Turn::GiveUp);
        assert_eq!(turn(None, Some(&hung), None), Turn::GiveUp);
        let ready = view(Phase::Ready, true);
        for phase in [Phase::Unready, Phase::Ready, Phase::Ending] {
            let old = view(phase, true);
            assert_eq!(after(&old, &ready), Turn::Relieve);
            assert_eq!(turn(Some(Generation(1)), Some(&old), Some(&ready)), Turn::Spare);
        }
        for phase in [Phase::Hung, Phase::Stopping, Phase::Stopped] {
            assert_eq!(after(&view(phase, false), &ready), Turn::Done);
        }
        assert_eq!(turn(None, None, Some(&hung)), Turn::Done);
    }
}
