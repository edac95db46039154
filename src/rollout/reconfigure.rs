//! What a change of a service's definition means for what runs. Pure.

use super::{
    draft::{Refusal, Request, Scene, run},
    record::{Stage, Start, Want},
};
use crate::{config::Slots, ident::Slot, nginx::Role, release::Release};

impl Scene<'_> {
    /// A rolling update of the release that runs, or of the one that was named. Slots that the service
    /// has no more serve until those that it has do.
    pub(super) fn reconfigure(&self) -> Result<(Option<Release>, Vec<Stage>), Refusal> {
        let release = self.request.named.clone().unwrap_or_else(|| self.running());
        let request = Request { named: Some(release.clone()), ..self.request.clone() };
        let itself = Scene { request: &request, ..*self };
        let mut stages = if self.moves() { itself.beside(&release) } else { itself.rolling()?.1 };
        if let Some(last) = stages.last_mut() {
            last.wants.extend(self.former());
        }
        Ok((Some(release), stages))
    }

    /// Slots of instances that are still there and that the service has no more, to be stopped; of
    /// a service that is not configured any more, all.
    pub(super) fn former(&self) -> Vec<(Slot, Want)> {
        let configured = match self.request.kind {
            super::record::Kind::Remove => vec![],
            _ => self.service.slots.all(),
        };
        let there = self.world.slots.keys().filter(|slot| !configured.contains(slot));
        there.map(|slot| (*slot, Want::Stopped)).collect()
    }

    /// Everything that serves is in slots that the service has no more.
    fn moves(&self) -> bool {
        let slots = self.service.slots.all();
        let served = self.served();
        !served.is_empty() && served.iter().all(|slot| !slots.contains(slot))
    }

    /// Starts what is configured beside what serves, so that one slot is enough.
    fn beside(&self, release: &Release) -> Vec<Stage> {
        let first = (self.live, run(release, Start::Fresh, Some(Role::Serving)));
        let mut wants = vec![first];
        let new = Stage { wants: wants.clone(), watch: true };
        if let (Slots::Two { .. }, Some(spare)) = (self.service.slots, self.spare) {
            wants.push((spare, self.standby(release)));
        }
        vec![new, Stage { wants, watch: false }]
    }

    /// The release that serves, else one that runs or is meant to, else what the directory is now.
    fn running(&self) -> Release {
        let release = |slot: &Slot| self.world.slots.get(slot)?.release.clone();
        let wanted = self.world.slots.iter().filter(|(_, seen)| seen.wanted).map(|(slot, _)| slot);
        let found = self.served().iter().chain(wanted).find_map(release);
        found.unwrap_or_else(|| self.request.current.clone())
    }
}
