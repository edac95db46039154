//! What an earlier daemon left in the slot: adopted (`P4`), or ended (`P3`).

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Ground,
    appetite::Appetite,
    driver::{Driver, Predecessor},
    ending::END_DEADLINE,
    kept::{Kept, Seen},
    life::Event,
    specify::censor,
};
use crate::{
    ident::InstanceId,
    process::{Exit, Identity, ProcessError, Start, Tree},
    store::SlotRow,
};

/// How long a daemon that has just begun waits for a kernel that cannot tell (no descriptors left).
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Driver {
    /// Adopts the tree of an earlier daemon, or ends whatever is left of it; `None` when nothing is
    /// left. While nobody can tell whether it lives, it is asked again, at most for `patience`, and
    /// nothing is ended: it may be serving.
    pub(super) async fn find_predecessor(&mut self, patience: Duration) -> Option<Event> {
        let row = self.row.clone()?;
        let kept = row.identity.as_deref().and_then(Kept::read);
        self.confined = kept.as_ref().map(|kept| kept.confined.clone()).unwrap_or_default();
        let seen = kept.as_ref().map(|kept| kept.seen).unwrap_or_default();
        let found = match kept {
            Some(Kept { who, .. }) => {
                let (ground, id) = (&self.ground, &self.id);
                patiently(patience, || look_for(ground, id, &who)).await
            }
            None => Ok(None),
        };
        self.predecessor = Predecessor::Settled;
        match found {
            Ok(Some(tree)) => {
                self.censor = censor(&self.service).await;
                Some(self.take_over(row, tree, seen))
            }
            Ok(None) => match self.sweep(&row).await {
                Ok(()) => None,
                Err(e) => Some(self.park("instance.leftovers", &row, e.to_string())),
            },
            Err(e) => {
                let why = format!("it is not known whether its last start still runs: {e}");
                self.predecessor = Predecessor::Unknown(why.clone());
                Some(self.park("instance.not-adopted", &row, why))
            }
        }
    }

    /// The kernel remembers how a process ended only for those who held it (`PIDFD_GET_INFO`).
    async fn sweep(&mut self, row: &SlotRow) -> Result<(), ProcessError> {
        if row.wanted && row.identity.is_some() {
            let how = format!("{} ended while no aibkd ran: {}", self.id, Exit::Unknown);
            self.record("instance.died", how);
        }
        self.ground.launcher.sweep(&self.id, END_DEADLINE).await
    }

    /// One that may have become ready while nobody looked has its start deadline anew.
    fn take_over(&mut self, row: Arc<SlotRow>, tree: Tree, seen: Seen) -> Event {
        let generation = row.generation;
        let deadline = self.service.ready.deadline;
        let starting = seen == Seen::Starting && tree.identity().uptime() < deadline;
        self.appetite = Appetite::of(&tree, &self.service.confinement);
        let lives = self.ground.launcher.lives(tree.identity());
        self.tree = Some(tree);
        self.found();
        let (id, rollout) = (row.release.clone(), row.rollout);
        self.capture.begin(Start { generation, release: Some(id), rollout });
        self.runs = Some(row);
        self.death = None;
        let how = if lives { "goes on as it was" } else { "has ended while no aibkd ran" };
        self.record("instance.adopted", format!("{} {how}", self.id));
        Event::Adopted(generation, starting.then_some(deadline))
    }

    fn park(&mut self, kind: &str, row: &SlotRow, why: String) -> Event {
        self.record(kind, format!("{}: {why}", self.id));
        self.give_up(Some(row.generation), why);
        Event::NotAdopted
    }
}

/// The tree of `who`; also when it has ended, if somebody kept a pidfd of it.
fn look_for(
    ground: &Ground,
    id: &InstanceId,
    who: &Identity,
) -> Result<Option<Tree>, ProcessError> {
    let Ground { launcher, shelf, .. } = ground;
    let there = launcher.adopt(id, who)?;
    match (there, shelf.take_process(id, who)) {
        (Some(tree), Some(_)) => Ok(Some(tree)),
        (Some(tree), None) => {
            shelf.put_process(id, &tree);
            Ok(Some(tree))
        }
        (None, Some(pidfd)) => launcher.adopt_ended(id, who, pidfd).map(Some),
        (None, None) => Ok(None),
    }
}

/// Asks until there is an answer, at most for `patience`.
async fn patiently<T, E>(
    patience: Duration,
    mut ask: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + patience;
    let mut pause = PAUSE.0;
    loop {
        match ask() {
            Err(_) if Instant::now() + pause <= deadline => sleep(pause).await,
            answer => return answer,
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn errors_are_waited_out_but_not_for_ever() {
        let mut asked = 0;
        let answer = patiently(PATIENCE, || {
            asked += 1;
            if asked < 3 { Err("too many open files") } else { Ok(asked) }
        });
        assert_eq!(answer.await, Ok(3));

        let (began, patience) = (Instant::now(), PAUSE.0 * 4);
        assert_eq!(patiently(patience, || Err::<(), _>("still")).await, Err("still"));
        assert!(began.elapsed() >= PAUSE.0);
        assert_eq!(patiently(Duration::ZERO, || Err::<(), _>("now")).await, Err("now"));
    }
}
