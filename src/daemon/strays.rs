//! What an earlier configuration left in a slot in another shape: a process with a socket of its own
//! where the daemon is to hold it, or the other way round.

use std::{sync::Arc, time::Duration};

use super::{DaemonError, muster::Muster};
use crate::{
    config::{Config, Service},
    instance::{Ground, Instance},
    process::Identity,
    store::SlotRow,
};

/// What a stop may take longer than its own deadline.
const SLACK: Duration = Duration::from_secs(15);

/// Stops what the store knows and nobody would drive any more, since it would be in the way, and forgets
/// it.
pub(super) async fn put_away(muster: Muster<'_>) -> Result<(), DaemonError> {
    let (ground, outlet) = (muster.ground, muster.outlet());
    let mut strays = vec![];
    for row in muster.rows {
        let service = muster.config.services.get(&row.instance.service);
        let Some(service) = service.filter(|service| !fits(row, service)) else { continue };
        let (id, within) = (row.instance.clone(), service.stop.deadline + SLACK);
        let service = Arc::clone(service);
        let stray = Instance::begin(id, service, Some(row.clone()), ground.clone(), outlet)?;
        stray.stop().await?;
        strays.push((stray, within));
    }
    for (stray, within) in strays {
        match stray.until(within, |view| !view.phase.is_up()).await {
            Ok(_) => ground.store.forget_slot(stray.id().clone()).await?,
            Err(e) => tracing::error!("{e}"),
        }
    }
    Ok(())
}

/// Finds the FIFOs of what runs that have no names any more: somebody removed them.
pub(super) fn find_fifos(config: &Config, rows: &[SlotRow], ground: &Ground) {
    for row in rows {
        if let Some(who) = identity(row) {
            let (id, dir) = (&row.instance, &config.runtime_dir);
            ground.launcher.find_fifos(id, &who, dir, &ground.shelf);
        }
    }
}

/// Whether the process of `row` lives.
pub(super) fn lives(row: &SlotRow, ground: &Ground) -> bool {
    identity(row).is_some_and(|who| ground.launcher.lives(&who))
}

fn identity(row: &SlotRow) -> Option<Identity> {
    row.identity.as_deref().and_then(|text| serde_json::from_str(text).ok())
}

/// Of a job nothing but its runs has a driver, and those have no port.
fn fits(row: &SlotRow, service: &Service) -> bool {
    let has_driver = service.job.is_none() || service.slots.all().contains(&row.instance.slot);
    has_driver && service.held().is_some() == row.instance.worker.is_some()
}
