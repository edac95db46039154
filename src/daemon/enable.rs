//! Which services come up with their host.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use super::{Daemon, operations, problems};
use crate::{
    api::{
        operations::{Answer, AtBoot, Caller},
        types::{Enable, Enablement, Rollout},
    },
    ident::ServiceName,
    rollout::{
        Crew,
        draft::Request,
        record::{Kind, Loss},
    },
    store::Boots,
};

/// The services that do not come up with their host: what the store says, at hand.
#[derive(Debug)]
pub(super) struct Disabled(Mutex<BTreeSet<ServiceName>>);

impl Disabled {
    pub(super) const fn new(services: BTreeSet<ServiceName>) -> Self {
        Self(Mutex::new(services))
    }

    pub(super) fn has(&self, service: &ServiceName) -> bool {
        self.lock().contains(service)
    }

    pub(super) fn all(&self) -> BTreeSet<ServiceName> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<ServiceName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Daemon {
    /// A service that was never started comes up with the daemon, unless it is disabled. What was
    /// started says itself whether it is meant to run.
    pub(super) fn stays_down(&self, crew: &Crew) -> bool {
        let is_new = crew.instances.values().all(|instance| instance.view().release.is_none());
        is_new && self.disabled.has(&crew.service.name)
    }

    /// Lets `on` come up with its host, or not; with `now` it is started or stopped, too.
    pub(super) async fn set_at_boot(
        &self,
        by: &Caller,
        boot: AtBoot,
        on: ServiceName,
        how: Enable,
    ) -> Answer<Enablement> {
        self.may_change()?;
        if let Some(job) = self.jobs.get(&on) {
            return self.set_schedule(by, boot, &job, &how).await;
        }
        let crew = self.engine.crew(&on).map_err(|e| problems::of_engine(&e))?;
        let rollout = match boot {
            AtBoot::Enabled => {
                self.write_boots(by, &crew, boot).await?;
                if how.now {
                    Some(self.all_of(by, &on, Kind::Start, Loss::Never).await?)
                } else {
                    None
                }
            }
            // Where it may not be stopped, nothing is to have changed.
            AtBoot::Disabled => {
                let loss = operations::loss(how.force);
                let stopped = if how.now {
                    Some(self.all_of(by, &on, Kind::Stop, loss).await?)
                } else {
                    None
                };
                self.write_boots(by, &crew, boot).await?;
                stopped
            }
        };
        let enabled = boot == AtBoot::Enabled;
        Ok(Enablement { service: on.to_string(), enabled, rollout })
    }

    async fn write_boots(&self, by: &Caller, crew: &Crew, boot: AtBoot) -> Answer<()> {
        let name = &crew.service.name;
        let wanted = crew.instances.values().any(|instance| instance.view().wanted);
        let boots = match boot {
            AtBoot::Enabled if wanted => Boots::AsLeft,
            AtBoot::Enabled => Boots::AsConfigured,
            AtBoot::Disabled => Boots::Not,
        };
        self.put_boots(by, name, boots).await
    }

    /// Writes down whether `name` comes up with its host, or keeps to its schedule.
    pub(super) async fn put_boots(
        &self,
        by: &Caller,
        name: &ServiceName,
        boots: Boots,
    ) -> Answer<()> {
        let (kind, word) = match boots {
            Boots::AsLeft | Boots::AsConfigured => ("service.enabled", "enabled"),
            Boots::Not => ("service.disabled", "disabled"),
        };
        let written = self.store.put_boots(name, boots).await;
        written.map_err(|e| problems::failed(&format!("{name} is not {word}: {e}")))?;
        match boots {
            Boots::AsLeft | Boots::AsConfigured => drop(self.disabled.lock().remove(name)),
            Boots::Not => drop(self.disabled.lock().insert(name.clone())),
        }
        self.record_of(name, kind, format!("{name} is {word} by uid {}", by.uid));
        Ok(())
    }

    /// Begins to start or stop a whole service.
    async fn all_of(
        &self,
        by: &Caller,
        on: &ServiceName,
        kind: Kind,
        loss: Loss,
    ) -> Answer<Rollout> {
        let request = |current| Request { loss, ..Request::of(kind, current) };
        self.begin(on, request, None, by).await
    }
}
