//! The effects behind the steps. Each may be run twice: it looks before it acts (`S1`).

use std::{sync::Arc, time::Duration};

use super::{
    EngineError,
    left::Tell,
    record::{Kind, Rollout, Step},
    words,
    world::{Proof, Room, Seen, World},
};
use crate::{
    config::{Service, Socket},
    ident::{ServiceName, Slot},
    instance::{Instance, Phase, View},
    latest,
    nginx::{Edited, Members, Nginx, NginxError, Serving},
    release::Release,
};

/// What an instance's own deadlines may take longer than they say.
pub(super) const SLACK: Duration = Duration::from_secs(15);

/// What a step came to: a note for people, or why it failed.
pub(super) type Result<T = Option<String>> = std::result::Result<T, String>;

/// One service and everything a rollout of it acts on.
#[derive(Debug, Clone)]
pub struct Crew {
    /// What the operator configured.
    pub service: Arc<Service>,
    /// Its instances, by slot.
    pub instances: std::collections::BTreeMap<Slot, Instance>,
    /// nginx, where the service is behind it.
    pub nginx: Option<Arc<Nginx>>,
    /// Whether it stays.
    pub standing: Standing,
}

/// Whether a service is there to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is configured.
    Configured,
    /// It is not, any more: it goes as soon as nothing of it runs.
    Leaving,
}

impl Crew {
    /// Looks at every slot, and asks nginx what it serves (`S3`). Where nginx does not answer, the file
    /// it will start with stands for it.
    pub(super) async fn observe(&self) -> std::result::Result<World, EngineError> {
        let slots = self
            .instances
            .iter()
            .map(|(slot, instance)| {
                let view = instance.view();
                let seen = Seen {
                    phase: known(&view),
                    wanted: view.wanted,
                    rest: view.rest,
                    release: view.release,
                    generation: view.generation,
                    rollout: view.rollout,
                    room: match (view.socket, self.service.held(), view.beside) {
                        (_, _, Some(_)) => Room::Taken,
                        (Socket::Held, Some(_), None) => Room::Free,
                        (Socket::Own, ..) | (Socket::Held, None, None) => Room::None,
                    },
                };
                (*slot, seen)
            })
            .collect();
        let Some(nginx) = &self.nginx else {
            return Ok(World { slots, members: None, proof: Proof::Agreed });
        };
        let name = &self.service.name;
        let of = |edited: &Edited| edited.upstreams.get(name).cloned().unwrap_or_default();
        let serving = nginx.serving().await?;
        // A file of ours that cannot be read agrees with nothing.
        let file = nginx.on_disk().ok().flatten();
        let in_file = || file.as_ref().map(of).unwrap_or_default();
        let (members, proof) = match serving {
            Serving::Answered(seen) if file.as_ref() == Some(&seen.served) => {
                (of(&seen.served), Proof::Agreed)
            }
            Serving::Answered(seen) => (of(&seen.served), Proof::Open),
            Serving::Silent(_) => (in_file(), Proof::Open),
            Serving::NotRunning(_) => (in_file(), Proof::Down),
        };
        self.cover(&members);
        Ok(World { slots, members: Some(members), proof })
    }

    /// Performs `step` of `rollout`; `tell` is called with what it waits for.
    pub(super) async fn perform(&self, step: &Step, rollout: &Rollout, tell: Tell<'_>) -> Result {
        match step {
            Step::Start { slot, release } => self.start(*slot, release, rollout).await,
            Step::AwaitReady { slot } => self.await_ready(*slot, rollout, tell).await,
            Step::Publish { members } => self.publish(members, rollout).await,
            Step::Watch { slots } => self.watch(slots, rollout).await,
            Step::Hold { slot } => self.hold(*slot, rollout, tell).await,
            Step::Drain { slot } => self.drain(*slot, tell).await,
            Step::Stop { slot } => self.stop(*slot, tell).await,
            Step::Replace { slot, release, start } => {
                self.replace((*slot, release, *start), rollout, tell).await
            }
            Step::Dismiss { slot } => self.dismiss(*slot, tell).await,
        }
    }

    async fn start(&self, slot: Slot, release: &Release, rollout: &Rollout) -> Result {
        let instance = self.instance(slot)?;
        let done = |view: &View| {
            let of_it = view.rollout == Some(rollout.id) && view.release.as_ref() == Some(release);
            of_it && view.phase.is_up() && view.phase != Phase::Stopping
        };
        // An order to start would end it, and begin another.
        if !done(&instance.view()) {
            instance.start(release.clone(), Some(rollout.id)).await.map_err(|e| e.to_string())?;
        }
        let view = instance.view();
        match (&view.death, &view.identity) {
            (Some(death), None) => Err(death.of(instance.id())),
            (_, Some(who)) => Ok(Some(format!("release {}, pid {}", release.id, who.pid))),
            (None, None) => Ok(None),
        }
    }

    async fn await_ready(&self, slot: Slot, rollout: &Rollout, tell: Tell<'_>) -> Result {
        let instance = self.instance(slot)?;
        let fresh = |view: &View| view.rollout == Some(rollout.id);
        let lost = |view: &View| match rollout.kind {
            // At boot an instance has all the chances that its restart policy gives it.
            // Whether an end is a failure is told by what it leads to.
            _ if self.is_done(view) || self.may_be_done(view) => false,
            Kind::Boot => matches!(view.phase, Phase::Failed | Phase::Finished),
            _ if fresh(view) => view.death.is_some(),
            _ => matches!(view.phase, Phase::Failed | Phase::Finished | Phase::Stopped),
        };
        let decided = |view: &View| {
            if let Some(complaint) = &view.complaint {
                tell(complaint.clone().into());
            }
            view.phase == Phase::Ready || self.is_done(view) || lost(view)
        };
        let view = instance.until(self.patience(rollout.kind), decided).await;
        let view = view.map_err(|e| e.to_string())?;
        match (lost(&view), &view.death) {
            (false, Some(death)) if self.is_done(&view) => Ok(Some(death.cause.to_string())),
            (false, _) => Ok(None),
            (true, Some(death)) => Err(death.of(instance.id())),
            (true, None) => Err(format!("{} is {}", instance.id(), view.phase.word())),
        }
    }

    /// It has finished, and nobody sends it requests.
    fn is_done(&self, view: &View) -> bool {
        view.phase == Phase::Finished && self.nginx.is_none()
    }

    fn may_be_done(&self, view: &View) -> bool {
        view.phase == Phase::Ending && self.nginx.is_none()
    }

    pub(super) fn patience(&self, kind: Kind) -> Duration {
        let once = self.service.ready.deadline + SLACK;
        match kind {
            Kind::Boot => {
                (once + self.service.restart.cap).saturating_mul(self.service.restart.limit + 1)
            }
            _ => once,
        }
    }

    pub(super) async fn publish(&self, members: &Members, rollout: &Rollout) -> Result {
        let Some(nginx) = &self.nginx else { return Ok(None) };
        self.uncover(members);
        let name = &self.service.name;
        let note = match nginx.publish(name, members).await {
            Ok(edition) => {
                format!("nginx serves edition {}{}", edition.0, words::shared(name, members))
            }
            // Nobody is served, and nothing is better than the file for the next start.
            Err(NginxError::NotRunning { why }) if !rollout.can_turn_back() => {
                let change = [(name.clone(), members.clone())].into();
                let written = nginx.write(&change).await.map_err(|e| e.to_string())?;
                let edition = written.edition.0;
                format!("nginx does not run ({why}); edition {edition} is there for its start")
            }
            Err(error) => return Err(error.to_string()),
        };
        self.cover(members);
        Ok(Some(note))
    }

    /// Returns only with trouble: the first change away from ready, of any of `slots`.
    pub(super) async fn probed(&self, slots: &[Slot]) -> Result {
        let watched: Vec<&Instance> =
            slots.iter().map(|slot| self.instance(*slot)).collect::<Result<_>>()?;
        let troubles = watched.iter().map(|instance| Box::pin(self.trouble(instance.watch())));
        let (view, ..) = futures_util::future::select_all(troubles).await;
        Err(match view.death {
            Some(death) => format!("while watched, {}", death.of(&view.id)),
            None => format!(
                "{} became {} while watched: {}",
                view.id,
                view.phase.word(),
                view.complaint.as_deref().unwrap_or("no reason seen")
            ),
        })
    }

    async fn trouble(&self, mut view: latest::Receiver<View>) -> View {
        let well = |view: &View| {
            view.phase == Phase::Ready || self.is_done(view) || self.may_be_done(view)
        };
        let changed = view.wait_for(|view| !well(view)).await.map(|view| view.clone());
        match changed {
            Ok(view) => view,
            // The daemon is ending; its successor watches again.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn instance(&self, slot: Slot) -> Result<&Instance> {
        self.instances.get(&slot).ok_or_else(|| not_there(&self.service.name, slot))
    }
}

/// Of what a daemon has adopted and not probed yet nothing says that it is not ready. What is started
/// again because it died is as ill while it starts as while it waits for that.
const fn known(view: &View) -> Phase {
    match (view.phase, &view.complaint) {
        (Phase::Unready, None) => Phase::Starting,
        (Phase::Starting, _) if view.restarts > 0 => Phase::Backoff,
        (phase, _) => phase,
    }
}

fn not_there(service: &ServiceName, slot: Slot) -> String {
    format!("{service} has no slot {slot} any more; put it back into the configuration")
}
