//! From what was asked to what a rollout goes through, or why it is refused. Pure.

mod colours;
mod relief;

use std::collections::BTreeSet;

use super::{
    hold::Preview,
    record::{Kind, Loss, Stage, Start, Want},
    world::{Seen, World},
};
use crate::{
    config::{Service, Share, Standby},
    ident::{ServiceName, Slot},
    instance::Phase,
    nginx::Role,
    release::Release,
};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which operation.
    pub kind: Kind,
    /// On which slot, for operations on one.
    pub slot: Option<Slot>,
    /// The release named by whoever asked.
    pub named: Option<Release>,
    /// What the configured directory is now.
    pub current: Release,
    /// Whether requests may be lost over it.
    pub loss: Loss,
    /// Where it waits for whoever asked.
    pub pause: Pause,
}

impl Request {
    /// `kind`, for all of a service, where the directory is `current` now; no request may be lost
    /// over it, and it waits for nobody.
    #[must_use]
    pub const fn of(kind: Kind, current: Release) -> Self {
        let (loss, pause) = (Loss::Never, Pause::Never);
        Self { kind, slot: None, named: None, current, loss, pause }
    }
}

/// Where a rollout waits for whoever asked for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pause {
    /// Nowhere.
    #[default]
    Never,
    /// Before what is new is seen by clients.
    BeforeTraffic,
}

/// What a rollout will go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The release it brings in, where it brings one.
    pub release: Option<Release>,
    /// Whether requests may be lost: what was asked for, or because nothing is well anyway (`T1`).
    pub loss: Loss,
    /// Where failure goes back to.
    pub origin: Stage,
    /// Who serves now.
    pub served: BTreeSet<Slot>,
    /// What it goes through.
    pub stages: Vec<Stage>,
    /// On what terms it is held meanwhile.
    pub preview: Option<Preview>,
}

/// Why something is not even begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One slot cannot be replaced without a gap.
    #[error("{0} has one slot, so a new release cannot start before the old one stops")]
    OneSlot(ServiceName),
    /// Swap needs one colour that serves.
    #[error("{0} has no single colour that serves: {1}")]
    NoColour(ServiceName, String),
    /// Rollback needs an old colour that is warm.
    #[error("{0} has no old colour to go back to: {1}")]
    NothingWarm(ServiceName, String),
    /// Only what is held is promoted or aborted.
    #[error("{0} is not held: {1}")]
    NotHeld(ServiceName, String),
    /// `T1`.
    #[error("{0} is the only instance of {1} that can serve; requests would be lost")]
    LastMember(String, ServiceName),
    /// `T1`, for all of a service.
    #[error("{0} serves; requests would be lost")]
    Serves(ServiceName),
}

impl Refusal {
    /// What to do instead.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::OneSlot(service) => format!(
                "give {service} `socket: held` or a second slot, or accept lost requests with \
                 `aibkctl rolling {service} --force`"
            ),
            Self::NoColour(service, _) => format!(
                "`aibkctl status` shows what runs; `aibkctl rolling {service}` renews both slots"
            ),
            Self::NothingWarm(service, _) => {
                format!("`aibkctl rolling {service} --release DIR` brings in any release")
            }
            Self::NotHeld(service, _) => format!(
                "`aibkctl swap {service} --hold` holds a swap; `aibkctl cancel ID` turns any back"
            ),
            Self::Serves(_) => "--force accepts the loss".to_owned(),
            Self::LastMember(_, service) => format!(
                "`aibkctl rolling {service}` loses nothing where there are two slots; \
                 --force accepts the loss"
            ),
        }
    }
}

/// What `request` means for `service` in `world`.
///
/// # Errors
/// A [`Refusal`] when it would break an invariant, or makes no sense now.
pub fn draft(request: &Request, service: &Service, world: &World) -> Result<Draft, Refusal> {
    let scene = Scene::new(request, service, world);
    let (release, stages) = match request.kind {
        Kind::Rolling => scene.beginning_with_the_ill().rolling()?,
        Kind::Swap => scene.swap()?,
        Kind::Rollback => scene.rollback()?,
        Kind::Start if request.slot.is_none() => (None, scene.start_all()),
        Kind::Start => (None, scene.start()),
        Kind::Stop if request.slot.is_none() => (None, scene.stop_all()?),
        Kind::Stop | Kind::Retire => (None, scene.stop()?),
        Kind::Restart => (None, scene.restart()?),
        Kind::Boot => (None, scene.boot()),
        Kind::Reconfigure => scene.reconfigure()?,
        Kind::Remove => (None, vec![Stage { wants: scene.former(), watch: false }]),
        Kind::Relieve => (None, scene.relieve()?),
        Kind::Restore => (None, scene.restore()?),
        Kind::Replace => scene.replace()?,
    };
    Ok(Draft {
        release,
        loss: scene.loss(),
        origin: scene.origin(),
        served: scene.served(),
        preview: scene.preview(&stages),
        stages,
    })
}

pub(super) struct Scene<'a> {
    pub(super) request: &'a Request,
    pub(super) service: &'a Service,
    pub(super) world: &'a World,
    /// The slot that serves, or would.
    pub(super) live: Slot,
    /// The other one.
    pub(super) spare: Option<Slot>,
}

impl<'a> Scene<'a> {
    fn new(request: &'a Request, service: &'a Service, world: &'a World) -> Self {
        let slots = service.slots.all();
        let first = slots.first().copied().unwrap_or(Slot::Sole);
        let live = slots
            .iter()
            .copied()
            .find(|slot| world.role(*slot) == Some(Role::Serving))
            .unwrap_or(first);
        let spare = slots.into_iter().find(|slot| *slot != live);
        Self { request, service, world, live, spare }
    }

    /// What is ill is renewed first, while the other one can have its requests.
    fn beginning_with_the_ill(&self) -> Self {
        let (request, service, world) = (self.request, self.service, self.world);
        let is_gone = world.slots.get(&self.live).is_none_or(|seen| !seen.phase.is_up());
        let takes_over = |spare: &Slot| {
            let is_ill = is_gone || world.has_clients(*spare) && !world.is_ready(self.live);
            is_ill && world.is_ready(*spare)
        };
        let (live, spare) = match self.spare.filter(takes_over) {
            Some(live) => (live, Some(self.live)),
            None => (self.live, self.spare),
        };
        Self { request, service, world, live, spare }
    }

    pub(super) fn rolling(&self) -> Result<(Option<Release>, Vec<Stage>), Refusal> {
        let release = self.request.named.as_ref().unwrap_or(&self.request.current);
        let fresh = |slot| (slot, run(release, Start::Fresh, Some(Role::Serving)));
        let stages = match (self.spare, &self.world.members) {
            (Some(spare), _) => {
                let last = self.standby(release);
                let mut stages = self.shares(spare, release, Start::Fresh);
                // Where both serve, each has half.
                if stages.is_empty() || self.service.rollout.canary.last() < Some(&Share::HALF) {
                    stages.push(self.beside_the_old(spare, release));
                }
                stages.extend([
                    Stage { wants: vec![fresh(spare), fresh(self.live)], watch: true },
                    Stage { wants: vec![fresh(self.live), (spare, last)], watch: false },
                ]);
                stages
            }
            (None, None) => vec![Stage { wants: vec![fresh(self.live)], watch: true }],
            (None, Some(_))
                if self.request.loss == Loss::Accepted || self.world.is_held(self.live) =>
            {
                vec![Stage { wants: vec![fresh(self.live)], watch: true }]
            }
            (None, Some(_)) => return Err(Refusal::OneSlot(self.service.name.clone())),
        };
        Ok((Some(release.clone()), stages))
    }

    /// `spare` serves beside the old one, and is watched.
    fn beside_the_old(&self, spare: Slot, release: &Release) -> Stage {
        let watch = !self.is_exchanged_at_once(spare);
        let role = watch.then_some(Role::Serving);
        Stage { wants: vec![(spare, run(release, Start::Fresh, role))], watch }
    }

    /// Where nothing is watched, `spare` need not be shown before the old one leaves, but only be
    /// ready: clients see one switch less. Not where it is better than what they have.
    fn is_exchanged_at_once(&self, spare: Slot) -> bool {
        let rollout = &self.service.rollout;
        let is_up = self.world.slots.get(&spare).is_some_and(|seen| seen.phase.is_up());
        rollout.watch.is_zero()
            && rollout.canary.is_empty()
            && self.world.has_clients(self.live)
            && self.world.is_ready(self.live)
            && (is_up || self.world.role(spare).is_none())
    }

    /// What the second slot does between rollouts.
    pub(super) fn standby(&self, release: &Release) -> Want {
        match self.service.rollout.standby {
            Standby::Stopped => Want::Stopped,
            Standby::Hot => run(release, Start::Any, Some(Role::Backup)),
            Standby::Shared => run(release, Start::Any, Some(Role::Serving)),
        }
    }

    fn start(&self) -> Vec<Stage> {
        let slot = self.subject();
        self.starting(&[(slot, self.role_for(slot))])
    }

    /// The whole service, as it is when it was never stopped.
    fn start_all(&self) -> Vec<Stage> {
        let spare = self.spare.and_then(|spare| match self.service.rollout.standby {
            Standby::Stopped => None,
            Standby::Hot => Some((spare, Role::Backup)),
            Standby::Shared => Some((spare, Role::Serving)),
        });
        let live = [(self.live, Role::Serving)];
        self.starting(&live.into_iter().chain(spare).collect::<Vec<_>>())
    }

    fn starting(&self, slots: &[(Slot, Role)]) -> Vec<Stage> {
        let want = |(slot, role): &(Slot, Role)| {
            let start = match self.world.slots.get(slot).map(|seen| seen.phase) {
                // What has finished is done once more.
                Some(Phase::Finished) => Start::Fresh,
                _ => Start::Any,
            };
            (*slot, run(&self.release_for(*slot), start, Some(*role)))
        };
        let named = |slot: Slot| slots.iter().any(|(named, _)| *named == slot);
        let mut wants: Vec<(Slot, Want)> = slots.iter().map(want).collect();
        // A member that was only named so that the upstream is not empty has done its service.
        wants.extend(
            self.service
                .slots
                .all()
                .into_iter()
                .filter(|other| !named(*other) && self.world.role(*other) == Some(Role::Down))
                .map(|other| (other, Want::Stopped)),
        );
        vec![Stage { wants, watch: false }]
    }

    fn stop(&self) -> Result<Vec<Stage>, Refusal> {
        let slot = self.subject();
        let mut wants = self.successor(slot)?;
        wants.push((slot, Want::Stopped));
        Ok(vec![Stage { wants, watch: false }])
    }

    fn stop_all(&self) -> Result<Vec<Stage>, Refusal> {
        if self.world.members.is_some() && self.loss() == Loss::Never {
            return Err(Refusal::Serves(self.service.name.clone()));
        }
        let wants = self.service.slots.all().into_iter().map(|slot| (slot, Want::Stopped));
        Ok(vec![Stage { wants: wants.collect(), watch: false }])
    }

    fn restart(&self) -> Result<Vec<Stage>, Refusal> {
        let slot = self.subject();
        let mut wants =
            vec![(slot, run(&self.release_for(slot), Start::Fresh, Some(self.role_for(slot))))];
        // On a held socket another set of processes takes over, where no other slot does.
        if self.world.has_traffic(slot) && !self.world.is_held(slot) {
            let successor_role = |other| self.world.role(other).unwrap_or(Role::Backup);
            wants.extend(
                self.successor(slot)?
                    .into_iter()
                    .map(|(other, want)| (other, with_role(want, successor_role(other)))),
            );
        }
        Ok(vec![Stage { wants, watch: false }])
    }

    /// Who is there when `slot` is not: `T1`. Nobody is needed where `slot` has no traffic or is not
    /// well itself, or the loss was accepted.
    fn successor(&self, slot: Slot) -> Result<Vec<(Slot, Want)>, Refusal> {
        let takes_over = |other: Slot| match (self.world.role(slot), self.world.role(other)) {
            (Some(Role::Backup), Some(role)) => role,
            _ => Role::Serving,
        };
        let ready = self
            .service
            .slots
            .all()
            .into_iter()
            .filter(|other| *other != slot && self.world.is_ready(*other))
            .find_map(|other| {
                Some((other, run(&self.release_in(other)?, Start::Any, Some(takes_over(other)))))
            });
        match ready {
            _ if !self.world.has_traffic(slot) => Ok(vec![]),
            Some(successor) => Ok(vec![successor]),
            None if self.loss() == Loss::Accepted || !self.world.is_ready(slot) => Ok(vec![]),
            None => {
                let name = crate::ident::InstanceId::new(self.service.name.clone(), slot);
                Err(Refusal::LastMember(name.to_string(), self.service.name.clone()))
            }
        }
    }

    /// Where nothing behind nginx is well, nothing more can be lost.
    fn loss(&self) -> Loss {
        let well = self
            .world
            .slots
            .keys()
            .any(|slot| self.world.has_traffic(*slot) && self.world.is_ready(*slot));
        if well { self.request.loss } else { Loss::Accepted }
    }

    /// What the store and the owned file say is meant to be; for a service that was never started,
    /// what its configuration says.
    fn boot(&self) -> Vec<Stage> {
        let slots = self.service.slots.all();
        let seen = |slot: &Slot| self.world.slots.get(slot);
        let known = slots.iter().filter_map(seen).any(|seen| seen.release.is_some());
        let wanted = |slot: Slot| {
            if known {
                self.world.slots.get(&slot).is_some_and(|seen| seen.wanted && !seen.rests())
            } else {
                slot == self.live || self.service.rollout.standby != Standby::Stopped
            }
        };
        let live = slots
            .iter()
            .copied()
            .find(|slot| wanted(*slot) && *slot == self.live)
            .or_else(|| slots.iter().copied().find(|slot| wanted(*slot)));
        let mut wants: Vec<_> = slots
            .into_iter()
            .filter_map(|slot| {
                let role = match self.service.rollout.standby {
                    _ if live == Some(slot) => Role::Serving,
                    Standby::Shared => Role::Serving,
                    Standby::Stopped | Standby::Hot => Role::Backup,
                };
                // What is not meant to run is not meant to be a member either, while another is.
                let rests = self.world.slots.get(&slot).is_some_and(Seen::rests);
                match (wanted(slot), live) {
                    _ if rests => None,
                    (true, _) => Some((slot, run(&self.release_for(slot), Start::Any, Some(role)))),
                    (false, Some(_)) => Some((slot, Want::Stopped)),
                    (false, None) => None,
                }
            })
            .collect();
        wants.extend(self.former());
        vec![Stage { wants, watch: false }]
    }

    /// What is there now, those that serve first. What is neither running nor stopped is left to
    /// its own supervision.
    fn origin(&self) -> Stage {
        let mut wants: Vec<(Slot, Want)> = self
            .world
            .slots
            .iter()
            .filter_map(|(slot, seen)| match (&seen.release, seen.phase) {
                (_, Phase::Stopped) => Some((*slot, Want::Stopped)),
                (_, Phase::Failed | Phase::Finished) | (None, _) => None,
                (Some(release), _) => {
                    Some((*slot, run(release, Start::Any, self.world.role(*slot))))
                }
            })
            .collect();
        wants.sort_by_key(|(_, want)| match want {
            Want::Run { role: Some(Role::Serving), .. } => 0,
            Want::Run { .. } => 1,
            Want::Stopped => 2,
        });
        Stage { wants, watch: false }
    }

    pub(super) fn served(&self) -> BTreeSet<Slot> {
        self.world
            .slots
            .keys()
            .copied()
            .filter(|slot| match self.world.members {
                Some(_) => self.world.role(*slot) == Some(Role::Serving),
                None => self.world.slots.get(slot).is_some_and(|seen| seen.phase.is_up()),
            })
            .collect()
    }

    /// The role that a started slot takes: the one it has, or the one its service gives it.
    fn role_for(&self, slot: Slot) -> Role {
        match (self.world.role(slot), self.service.rollout.standby) {
            (Some(role @ (Role::Serving | Role::Backup)), _) => role,
            _ if self.served().is_empty() => Role::Serving,
            (_, Standby::Shared) => Role::Serving,
            (_, Standby::Stopped | Standby::Hot) => Role::Backup,
        }
    }

    fn subject(&self) -> Slot {
        self.request.slot.unwrap_or(self.live)
    }

    pub(super) fn release_in(&self, slot: Slot) -> Option<Release> {
        self.world.slots.get(&slot).filter(|seen| seen.phase.is_up())?.release.clone()
    }

    /// What a start of `slot` brings up: its own release while it runs or is meant to, else the
    /// one that serves, else what the directory is now.
    fn release_for(&self, slot: Slot) -> Release {
        let own = self.world.slots.get(&slot).filter(|seen| seen.wanted);
        own.and_then(|seen| seen.release.clone())
            .or_else(|| self.release_in(self.live))
            .unwrap_or_else(|| self.request.current.clone())
    }
}

pub(super) fn run(release: &Release, start: Start, role: Option<Role>) -> Want {
    Want::Run { release: release.clone(), start, role }
}

fn with_role(want: Want, role: Role) -> Want {
    match want {
        Want::Run { release, start, .. } => Want::Run { release, start, role: Some(role) },
        Want::Stopped => Want::Stopped,
    }
}
