//! What is started, by the configuration, the account and the env file as they are now.

use std::{sync::Arc, time::Duration};

use crate::{
    config::{self, Service, Variables},
    ident::InstanceId,
    process::{Listener, SPAWN_WITHIN, SpawnSpec},
    release::{self, Account, Censor, Release},
    store::SlotRow,
    sys::blocking,
};

/// How long a user, a group or an env file may take to be read.
const LOOK_UP_DEADLINE: Duration = Duration::from_secs(10);
/// The longest that a start takes until the process runs, or has failed to.
pub const START_WITHIN: Duration = LOOK_UP_DEADLINE.saturating_add(SPAWN_WITHIN);

/// What is started, and what of it must not be seen.
pub(super) struct Specified {
    pub(super) spec: SpawnSpec,
    pub(super) censor: Censor,
}

/// What is started as `id` for `row`, which names its generation.
pub(super) async fn specify(
    service: &Arc<Service>,
    id: &InstanceId,
    row: &SlotRow,
    listener: Option<&Listener>,
) -> Result<Specified, String> {
    let (account, env_file) = look_up(service).await?;
    let release = Release { id: row.release.clone(), directory: (&row.directory).into() };
    let spec = release::launch(&release::Start {
        service,
        release: &release,
        slot: id.slot,
        worker: id.worker,
        listener,
        generation: row.generation,
        rollout: row.rollout,
        account: &account,
        env_file: &env_file,
    });
    Ok(Specified { spec, censor: Censor::of(&env_file) })
}

/// What must not be seen of what `service` writes, by its env file as it is now; nothing is known to be
/// where that cannot be read.
pub(super) async fn censor(service: &Arc<Service>) -> Censor {
    look_up(service).await.map(|(_, env_file)| Censor::of(&env_file)).unwrap_or_default()
}

/// Who runs it, and its env file. Both may wait for a network, so a thread does; none where there is
/// nothing to ask.
async fn look_up(service: &Arc<Service>) -> Result<(Account, Variables), String> {
    let service = Arc::clone(service);
    if service.user.is_none()
        && service.env_file.is_none()
        && let Some(own) = Account::own()
    {
        return Ok((own, Variables::new()));
    }
    let read = move || {
        let account = Account::look_up(service.user.as_deref()).map_err(|e| e.to_string())?;
        let env_file = match &service.env_file {
            Some(path) => config::load_env_file(path).map_err(|e| e.to_string())?,
            None => Variables::new(),
        };
        Ok((account, env_file))
    };
    blocking::within(LOOK_UP_DEADLINE, read).await.map_err(|e| {
        format!("its user or its env file cannot be read: {e}; check nsswitch.conf and the disk")
    })?
}
