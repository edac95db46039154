//! Traffic follows health: a member that has died or is not ready leaves the upstream while another one
//! is ready, and comes back; one that hangs is replaced by the other slot. Each is a rollout like any other, so
//! that it never runs beside one of an operator's, and survives the daemon.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Notify, broadcast::error::RecvError};

use super::{
    EngineError,
    draft::Request,
    effects::Crew,
    engine::Engine,
    record::{Kind, Outcome, Rollout, now},
    world::{Proof, Room, World},
};
use crate::{
    config::{Service, Slots},
    ident::{Generation, ServiceName, Slot},
    instance::{Phase, View},
    nginx::Role,
    release::Release,
    store::Event,
};

/// After a rollout of ours that came to nothing, or a world that could not be seen, it is tried again
/// after this.
pub(super) const AGAIN: Duration = Duration::from_secs(30);
/// While another rollout holds a service that needs care, it is looked at this often.
const SOON: Duration = Duration::from_secs(1);

/// What is to be done for the health of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// This rollout, on this slot.
    Begin(Kind, Slot),
    /// Nobody takes the place of what hangs.
    Forsake,
}

/// Hung instances that a replacement was begun for already.
type Tried = BTreeSet<(Slot, Generation)>;

/// What is known of a service beside the world.
#[derive(Debug, Clone, Copy)]
struct Past<'a> {
    /// The slot that left the upstream last, because it was not well, and is not back.
    relieved: Option<Slot>,
    /// What was tried for it already.
    tried: &'a Tried,
    /// The slots whose instance has died and is not ready again.
    fallen: &'a BTreeSet<Slot>,
}

/// What `service` needs in `world`.
fn decide(service: &Service, world: &World, past: Past<'_>) -> Option<Care> {
    let Past { relieved, tried, fallen } = past;
    let Slots::Two { blue, green } = service.slots else { return None };
    let pairs = [(blue, green), (green, blue)].map(|(a, b)| (Slot::Port(a), Slot::Port(b)));
    let phase = |slot| world.slots.get(&slot).map(|seen| seen.phase);
    let serves = |slot| world.role(slot).is_some_and(Role::is_asked);
    if world.members.is_none() || world.proof == Proof::Down {
        let hangs = pairs.into_iter().any(|(slot, _)| phase(slot) == Some(Phase::Hung));
        return hangs.then_some(Care::Forsake);
    }
    let hangs = |(slot, other): (Slot, Slot)| {
        let seen = world.slots.get(&slot).filter(|seen| seen.phase == Phase::Hung)?;
        // On a held socket another worker takes over.
        if seen.room != Room::None {
            return None;
        }
        let may_stand_in =
            matches!(phase(other), Some(Phase::Ready | Phase::Starting | Phase::Stopped));
        let tried = seen.generation.is_some_and(|generation| tried.contains(&(slot, generation)));
        let replaced = serves(slot) && may_stand_in && !tried;
        Some(if replaced { Care::Begin(Kind::Replace, slot) } else { Care::Forsake })
    };
    let suffers = |(slot, other): (Slot, Slot)| {
        let is_sick = matches!(phase(slot), Some(Phase::Unready | Phase::Failed | Phase::Finished))
            || fallen.contains(&slot);
        (serves(slot) && is_sick && world.is_ready(other) && world.has_traffic(other))
            .then_some(Care::Begin(Kind::Relieve, slot))
    };
    let is_well_again = |(slot, _): (Slot, Slot)| {
        let was_relieved = relieved == Some(slot);
        (was_relieved && world.is_ready(slot) && world.role(slot).is_none())
            .then_some(Care::Begin(Kind::Restore, slot))
    };
    let pairs = || pairs.into_iter();
    pairs()
        .find_map(hangs)
        .or_else(|| pairs().find_map(suffers))
        .or_else(|| pairs().find_map(is_well_again))
}

/// Whether an event may change what a service needs.
fn concerns(event: &Event) -> bool {
    matches!(
        event.kind.as_str(),
        "instance.ready"
            | "instance.unready"
            | "instance.hung"
            | "instance.died"
            | "instance.failed"
            | "instance.finished"
            | "rollout.ended"
    )
}

/// Somebody sends requests to it, and has somebody else to send them to.
fn can_be_relieved(crew: &Crew) -> bool {
    crew.nginx.is_some() && matches!(crew.service.slots, Slots::Two { .. })
}

impl Engine {
    /// From now on looks after the health of every service behind nginx with two slots.
    pub fn look_after(&self) {
        let engine = self.clone();
        tokio::spawn(async move {
            let mut events = engine.events();
            let mut wards: BTreeMap<ServiceName, Arc<Notify>> = BTreeMap::new();
            let mut ring = |service: &ServiceName| {
                if engine.crew(service).is_ok_and(|crew| can_be_relieved(&crew)) {
                    let bell =
                        wards.entry(service.clone()).or_insert_with(|| engine.take_care(service));
                    bell.notify_one();
                }
            };
            engine.crews().keys().for_each(&mut ring);
            loop {
                match events.recv().await {
                    Ok(event) if concerns(&event) => {
                        let service = event.service.and_then(|name| ServiceName::new(&name).ok());
                        service.iter().for_each(&mut ring);
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => engine.crews().keys().for_each(&mut ring),
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// Looks after `service` each time that the bell rings.
    fn take_care(&self, service: &ServiceName) -> Arc<Notify> {
        let (bell, engine, service) = (Arc::new(Notify::new()), self.clone(), service.clone());
        let rung = Arc::clone(&bell);
        tokio::spawn(async move {
            let mut tried = Tried::new();
            loop {
                rung.notified().await;
                loop {
                    let again = match Box::pin(engine.attend(&service, &mut tried)).await {
                        Ok(None) => break,
                        Ok(Some(again)) => again,
                        Err(EngineError::Ending) => return,
                        Err(e) => {
                            tracing::warn!(service = %service, "its health has to wait: {e}");
                            AGAIN
                        }
                    };
                    let _ = tokio::time::timeout(again, rung.notified()).await;
                }
            }
        });
        bell
    }

    /// Does what `service` needs now; tells when to look again although nothing happens.
    async fn attend(
        &self,
        service: &ServiceName,
        tried: &mut Tried,
    ) -> Result<Option<Duration>, EngineError> {
        let Ok(crew) = self.crew(service) else { return Ok(None) };
        if !can_be_relieved(&crew) {
            return Ok(None);
        }
        let last = self.newest_of(service).await?;
        let relieved = last.as_ref().and_then(relieved_by);
        if !may_need_care(&crew, relieved) {
            return Ok(None);
        }
        if let Some(other) = self.under_way(service) {
            // It has precedence, and its end is told a moment before the service is free.
            if !matches!(other.kind, Kind::Relieve | Kind::Restore | Kind::Replace) {
                forsake(&crew).await?;
            }
            return Ok(Some(SOON));
        }
        let world = match crew.observe().await {
            Ok(world) => world,
            Err(e) => {
                forsake(&crew).await?;
                return Err(e);
            }
        };
        let past = Past { relieved, tried, fallen: &fallen(&crew) };
        match decide(&crew.service, &world, past) {
            None => Ok(None),
            Some(Care::Forsake) => forsake(&crew).await.map(|()| None),
            Some(Care::Begin(kind, slot)) => {
                if let Some(rest) = last.as_ref().and_then(|last| rest(last, now())) {
                    return Ok(Some(rest));
                }
                let generation = world.slots.get(&slot).and_then(|seen| seen.generation);
                tried.extend(generation.map(|generation| (slot, generation)));
                let begun = self.begin_care(&crew, kind, slot).await;
                if begun.is_err() && kind == Kind::Replace {
                    forsake(&crew).await?;
                }
                begun
            }
        }
    }

    async fn begin_care(
        &self,
        crew: &Crew,
        kind: Kind,
        slot: Slot,
    ) -> Result<Option<Duration>, EngineError> {
        let own = crew.instances.get(&slot).and_then(|instance| instance.view().release);
        let current = match Release::resolve(&crew.service) {
            Ok(current) => current,
            Err(e) => own.ok_or_else(|| EngineError::NoRelease(e.to_string()))?,
        };
        let request = Request { slot: Some(slot), ..Request::of(kind, current) };
        match self.begin(&crew.service.name, request, "aibkd".to_owned()).await {
            Ok(_) => Ok(None),
            Err(EngineError::Busy(_)) => Ok(Some(SOON)),
            Err(e) => Err(e),
        }
    }

    /// The newest rollout of `service`, other than boots.
    pub(super) async fn newest_of(
        &self,
        service: &ServiceName,
    ) -> Result<Option<Rollout>, EngineError> {
        let tells = |rollout: &Rollout| {
            let is_idle = rollout.is_idle() && relieved_by(rollout).is_none();
            rollout.kind != Kind::Boot && !is_idle
        };
        self.newest_that(service, tells).await
    }
}

/// The slot that `last` has left out of the upstream, to be brought back once it is well.
fn relieved_by(last: &Rollout) -> Option<Slot> {
    match &last.waits {
        Some(waits) => waits.relieved,
        None if last.kind == Kind::Relieve && last.outcome() == Some(Outcome::Done) => last.slot,
        None => None,
    }
}

/// What the traffic of a service needs that is not under way: which slot is to leave the upstream, or
/// to come back.
pub(super) fn traffic(crew: &Crew, world: &World, relieved: Option<Slot>) -> Option<(Kind, Slot)> {
    let past = Past { relieved, tried: &Tried::new(), fallen: &fallen(crew) };
    match decide(&crew.service, world, past)? {
        Care::Begin(kind @ (Kind::Relieve | Kind::Restore), slot) => Some((kind, slot)),
        Care::Begin(..) | Care::Forsake => None,
    }
}

/// Without asking nginx.
pub(super) fn may_need_care(crew: &Crew, relieved: Option<Slot>) -> bool {
    let sick = |view: &View| {
        matches!(view.phase, Phase::Unready | Phase::Hung | Phase::Failed | Phase::Finished)
    };
    relieved.is_some()
        || crew.instances.values().any(|instance| sick(&instance.view()))
        || !fallen(crew).is_empty()
}

fn fallen(crew: &Crew) -> BTreeSet<Slot> {
    let views = crew.instances.iter().map(|(slot, instance)| (*slot, instance.view()));
    views.filter(|(_, view)| has_fallen(view)).map(|(slot, _)| slot).collect()
}

/// One that is started on purpose is starting, too, but nothing of it has died.
const fn has_fallen(view: &View) -> bool {
    match view.phase {
        Phase::Ending | Phase::Backoff => true,
        Phase::Starting => view.restarts > 0,
        _ => false,
    }
}

/// How long nothing of ours is begun, because the last came to nothing.
fn rest(last: &Rollout, now: i64) -> Option<Duration> {
    let ours = matches!(last.kind, Kind::Relieve | Kind::Restore);
    if !ours || last.outcome() == Some(Outcome::Done) {
        return None;
    }
    let age = u64::try_from(now.saturating_sub(last.ended?)).unwrap_or(0);
    AGAIN.checked_sub(Duration::from_micros(age)).filter(|rest| !rest.is_zero())
}

/// Nobody takes the place of what hangs.
async fn forsake(crew: &Crew) -> Result<(), EngineError> {
    for instance in crew.instances.values() {
        if instance.view().phase == Phase::Hung && instance.forsake().await.is_err() {
            return Err(EngineError::Ending);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "relief_tests.rs"]
mod tests;
