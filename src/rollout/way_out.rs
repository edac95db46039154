//! What leads out of a rollout that is stuck: what an operator reads, and the checker follows. Pure.

use std::fmt::Write as _;

use super::{
    draft::{Request, draft},
    record::{Kind, Loss, Rollout, Want},
    world::World,
};
use crate::{
    config::Service,
    ident::{InstanceId, Slot},
    release::Release,
};

/// A rolling update that leads out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WayOut {
    /// To which release.
    pub(super) release: Release,
    /// Whether it is begun only by whoever accepts that requests are lost.
    pub(super) loss: Loss,
}

/// Onward to what `rollout` was to bring in, and back to what served before it.
pub(super) fn ways_out(rollout: &Rollout, service: &Service, world: &World) -> Vec<WayOut> {
    if !matches!(rollout.kind, Kind::Rolling | Kind::Swap | Kind::Rollback) {
        return vec![];
    }
    let before = rollout.origin.wants.iter().filter_map(|(slot, want)| match want {
        Want::Run { release, .. } if rollout.served.contains(slot) => Some(release),
        Want::Run { .. } | Want::Stopped => None,
    });
    let mut ways: Vec<WayOut> = vec![];
    for release in rollout.release.iter().chain(before) {
        let asked = |loss| Request { loss, ..Request::of(Kind::Rolling, release.clone()) };
        let can = |loss: &Loss| draft(&asked(*loss), service, world).is_ok();
        let loss = [Loss::Never, Loss::Accepted].into_iter().find(can);
        if let Some(loss) = loss.filter(|_| ways.iter().all(|way| way.release != *release)) {
            ways.push(WayOut { release: release.clone(), loss });
        }
    }
    ways
}

/// Who serves, and what leads out, in lines for people.
pub(super) fn told(rollout: &Rollout, service: &Service, world: &World) -> String {
    let ways = ways_out(rollout, service, world);
    if ways.is_empty() {
        return String::new();
    }
    let well = |slot: &&Slot| {
        world.is_ready(**slot) && (world.members.is_none() || world.has_clients(**slot))
    };
    let named = |slot: &Slot| {
        let release = world.slots.get(slot).and_then(|seen| seen.release.as_ref());
        let of = release.map(|release| format!(" (release {})", release.id)).unwrap_or_default();
        format!("{}{of}", InstanceId::new(service.name.clone(), *slot))
    };
    let serves: Vec<String> = world.slots.keys().filter(well).map(named).collect();
    let mut told = match serves.as_slice() {
        [] => "nobody who is well serves".to_owned(),
        [one] => format!("{one} serves everybody"),
        several => format!("{} serve", several.join(" and ")),
    };
    for WayOut { release, loss } in ways {
        let force = if loss == Loss::Accepted { " --force" } else { "" };
        let what =
            if rollout.release.as_ref() == Some(&release) { "goes on to" } else { "goes back to" };
        let _ = write!(
            told,
            "\n`aibkctl rolling {} --release {}{force}` {what} release {}",
            service.name,
            release.directory.display(),
            release.id
        );
    }
    told
}
