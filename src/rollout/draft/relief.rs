//! Drafts for the health of a service: what is not ready leaves the upstream, what is ready again
//! comes back, and what hangs is replaced.

use super::{Refusal, Scene, run};
use crate::{
    config::Standby,
    ident::{InstanceId, Slot},
    nginx::Role,
    release::Release,
    rollout::record::{Stage, Start, Want},
};

impl Scene<'_> {
    /// The other slot serves, and this one gets nothing more (`T1`); nothing is started or stopped.
    pub(super) fn relieve(&self) -> Result<Vec<Stage>, Refusal> {
        let (slot, other) = self.pair()?;
        let (own, there) = (self.release_of(slot), self.release_in(other));
        let (Some(own), Some(there), true) = (own, there, self.world.is_ready(other)) else {
            return Err(self.alone(slot));
        };
        Ok(vec![stage(vec![
            (other, run(&there, Start::Any, Some(Role::Serving))),
            (slot, run(&own, Start::AsIs, None)),
        ])])
    }

    /// This slot serves again, and the other one does what it did before.
    pub(super) fn restore(&self) -> Result<Vec<Stage>, Refusal> {
        let (slot, other) = self.pair()?;
        let own = self.release_in(slot).ok_or_else(|| self.alone(slot))?;
        let mut wants = vec![(slot, run(&own, Start::Any, Some(Role::Serving)))];
        if let Some(there) = self.release_in(other).filter(|_| self.world.is_ready(other)) {
            wants.push((other, run(&there, Start::AsIs, Some(self.second_role()))));
        }
        Ok(vec![stage(wants)])
    }

    /// The other slot takes over, with the same release unless it is ready with another one; then
    /// the one that hangs is ended.
    pub(super) fn replace(&self) -> Result<(Option<Release>, Vec<Stage>), Refusal> {
        let (slot, other) = self.pair()?;
        let own = self.release_of(slot).ok_or_else(|| self.alone(slot))?;
        let there = self.release_in(other).filter(|_| self.world.is_ready(other));
        let out = (slot, run(&own, Start::Any, None));
        let serves = |slot, release, start| (slot, run(release, start, Some(Role::Serving)));
        let stages = match there {
            Some(there) if there != own => vec![
                stage(vec![serves(other, &there, Start::Any), out]),
                stage(vec![serves(slot, &own, Start::Fresh), serves(other, &there, Start::Any)]),
                stage(vec![serves(slot, &own, Start::Any), (other, self.second(&own, Start::Any))]),
            ],
            _ => vec![
                stage(vec![serves(other, &own, Start::Any), out]),
                stage(vec![
                    serves(other, &own, Start::Any),
                    (slot, self.second(&own, Start::Fresh)),
                ]),
            ],
        };
        Ok((Some(own), stages))
    }

    /// What the second slot does between rollouts.
    fn second(&self, release: &Release, start: Start) -> Want {
        match self.service.rollout.standby {
            Standby::Stopped => Want::Stopped,
            Standby::Hot | Standby::Shared => run(release, start, Some(self.second_role())),
        }
    }

    fn second_role(&self) -> Role {
        match self.service.rollout.standby {
            Standby::Shared => Role::Serving,
            Standby::Stopped | Standby::Hot => Role::Backup,
        }
    }

    fn pair(&self) -> Result<(Slot, Slot), Refusal> {
        let slot = self.subject();
        let other = self.service.slots.all().into_iter().find(|other| *other != slot);
        Ok((slot, other.ok_or_else(|| self.alone(slot))?))
    }

    fn release_of(&self, slot: Slot) -> Option<Release> {
        self.world.slots.get(&slot)?.release.clone()
    }

    fn alone(&self, slot: Slot) -> Refusal {
        let name = InstanceId::new(self.service.name.clone(), slot);
        Refusal::LastMember(name.to_string(), self.service.name.clone())
    }
}

const fn stage(wants: Vec<(Slot, Want)>) -> Stage {
    Stage { wants, watch: false }
}
