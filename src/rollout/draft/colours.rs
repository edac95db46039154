//! Drafts for going from one colour to the other.

use std::net::SocketAddr;

use super::{Pause, Refusal, Scene, run};
use crate::{
    config::Share,
    ident::{InstanceId, Slot},
    instance::Phase,
    nginx::{self, Role},
    release::Release,
    rollout::{
        hold::Preview,
        record::{Stage, Start, Want},
    },
};

type Drafted = Result<(Option<Release>, Vec<Stage>), Refusal>;

impl Scene<'_> {
    pub(super) fn swap(&self) -> Drafted {
        let to = self.other_colour()?;
        let warm = self.release_in(to).filter(|_| self.world.is_ready(to));
        let release = self.request.named.clone().or(warm).unwrap_or(self.request.current.clone());
        let whole = Stage { wants: self.exchanged(to, &release), watch: true };
        let held = match self.request.pause {
            Pause::Never => None,
            Pause::BeforeTraffic => {
                let wants = vec![(to, run(&release, Start::Any, Some(Role::Preview)))];
                Some(Stage { wants, watch: false })
            }
        };
        let shares = self.shares(to, &release, Start::Any);
        Ok((Some(release), held.into_iter().chain(shares).chain([whole]).collect()))
    }

    /// Stages in which `to`, with a new release, gets a part of the requests, and what serves now the
    /// rest; none where that is not well, for then there is nothing to compare with.
    pub(super) fn shares(&self, to: Slot, release: &Release, start: Start) -> Vec<Stage> {
        let serves = self.world.role(self.live) == Some(Role::Serving);
        let old = self.release_in(self.live).filter(|_| serves && self.world.is_ready(self.live));
        let Some(old) = old else { return vec![] };
        let rest = run(&old, Start::AsIs, Some(Role::Serving));
        let stage = |share: &Share| {
            let part = run(release, start, Some(Role::Canary(*share)));
            Stage { wants: vec![(to, part), (self.live, rest.clone())], watch: true }
        };
        self.service.rollout.canary.iter().map(stage).collect()
    }

    /// What `stages` hold, and where it can be tried out: at the port that nginx has for that, else
    /// at its own.
    pub(super) fn preview(&self, stages: &[Stage]) -> Option<Preview> {
        let wants = stages.iter().flat_map(|stage| &stage.wants);
        let held =
            |(_, want): &&(Slot, Want)| matches!(want, Want::Run { role: Some(Role::Preview), .. });
        let slot = wants.into_iter().find(held).map(|(slot, _)| *slot)?;
        let port = self.service.upstream.as_ref().and_then(|upstream| upstream.preview);
        let address = match port {
            Some(port) => SocketAddr::from(([127, 0, 0, 1], port.get())),
            None => SocketAddr::new(nginx::reached(self.service.host()), slot.port()?.get()),
        };
        let most_ms = u64::try_from(self.service.rollout.hold.as_millis()).unwrap_or(u64::MAX);
        Some(Preview { slot, address, most_ms })
    }

    /// Back to the colour that is still warm: nothing is started, and it is known, so it is not
    /// watched either.
    pub(super) fn rollback(&self) -> Drafted {
        let to = self.other_colour()?;
        let name = InstanceId::new(self.service.name.clone(), to);
        let phase = self.world.slots.get(&to).map_or(Phase::Stopped, |seen| seen.phase);
        let warm = self.release_in(to).filter(|_| self.world.is_ready(to)).ok_or_else(|| {
            Refusal::NothingWarm(self.service.name.clone(), format!("{name} is {}", phase.word()))
        })?;
        let stage = Stage { wants: self.exchanged(to, &warm), watch: false };
        Ok((Some(warm), vec![stage]))
    }

    /// `to` serves, and the colour that serves now stays as a backup while it is well; it is not
    /// waited for.
    fn exchanged(&self, to: Slot, release: &Release) -> Vec<(Slot, Want)> {
        let old = match self.release_in(self.live) {
            Some(old) if self.world.is_ready(self.live) => {
                run(&old, Start::Any, Some(Role::Backup))
            }
            Some(old) => run(&old, Start::Any, None),
            None => Want::Stopped,
        };
        vec![(to, run(release, Start::Any, Some(Role::Serving))), (self.live, old)]
    }

    /// The one that does not serve, while exactly one does.
    fn other_colour(&self) -> Result<Slot, Refusal> {
        let no_colour = |why: &str| Refusal::NoColour(self.service.name.clone(), why.to_owned());
        let Some(to) = self.spare else {
            return Err(Refusal::OneSlot(self.service.name.clone()));
        };
        match self.served().len() {
            1 => Ok(to),
            0 => Err(no_colour("nothing serves")),
            _ => Err(no_colour("both slots serve")),
        }
    }
}
