//! One set taking over from another in the same slot.

use super::Team;
use crate::{
    ident::{RolloutId, Side},
    instance::{Fresh, InstanceError},
    release::Release,
};

impl Team {
    /// Brings up workers of `release` beside those that face; they get no connection but probes.
    /// What is there already is kept where it is right.
    pub(super) async fn raise(
        &mut self,
        release: &Release,
        rollout: Option<RolloutId>,
        fresh: Fresh,
    ) -> Result<(), InstanceError> {
        let side = self.facing.as_ref().map_or(Side::A, |set| set.side().other());
        let mut set = match self.beside.take() {
            Some(set) => set,
            None => self.empty(side),
        };
        let raised = match self.fill(&mut set) {
            Ok(()) if set.is_right(release, rollout, fresh) => Ok(()),
            Ok(()) => set.start(release, rollout, self.count).await,
            Err(e) => Err(e),
        };
        self.beside = Some(set);
        raised
    }

    /// From now on new connections go to the set that stands beside.
    pub(super) fn face(&mut self) -> Result<(), InstanceError> {
        let Some(new) = self.beside.take() else { return Ok(()) };
        let turned = self.gate.face(new.side());
        let turned = turned.map_err(|source| InstanceError::Socket { id: self.id.clone(), source });
        if turned.is_err() {
            self.beside = Some(new);
            return turned;
        }
        self.beside = self.facing.replace(new);
        Ok(())
    }

    /// Connections that the set beside has, or that wait for it.
    pub(super) async fn count_beside(&self) -> usize {
        let Some(set) = &self.beside else { return 0 };
        // Where the kernel cannot be asked, nobody waits for ever.
        set.connections().await + self.gate.waiting(set.side()).unwrap_or(0)
    }
}
