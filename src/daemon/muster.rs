//! Who is there: every configured service with its instances, and what is left of those that are
//! not configured any more.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
    sync::Arc,
};

use super::{DaemonError, roster::Jobs, strays};
use crate::{
    config::{self, Config, Logs, LogsTo, NginxMode, Service},
    ident::{InstanceId, ServiceName, Slot},
    instance::{Ground, Instance, Outlet},
    job::Job,
    nginx::{Flip, Nginx, Proxied, Site, Switch},
    process::{Also, Keeping, Packing},
    rollout::{Crew, Crews, Standing},
    store::SlotRow,
};

/// Brings crews together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Muster<'a> {
    pub(super) config: &'a Config,
    pub(super) nginx: Option<&'a Arc<Nginx>>,
    pub(super) ground: &'a Ground,
    /// What the store knows of every slot.
    pub(super) rows: &'a [SlotRow],
}

impl Muster<'_> {
    /// Every service of a daemon that comes up.
    pub(super) fn all(&self) -> Result<Crews, DaemonError> {
        let mut crews = Crews::new();
        for service in kept(self.config) {
            crews.insert(service.name.clone(), Arc::new(self.crew(service, None)?));
        }
        let managed = |nginx: &crate::config::Nginx| nginx.mode == NginxMode::Managed;
        let nginx = self.config.nginx.as_ref().filter(|nginx| managed(nginx));
        let nginx = nginx.map(|_| ServiceName::managed_nginx());
        for row in self.left_over() {
            let InstanceId { service: name, slot, worker: _ } = &row.instance;
            if nginx.as_ref() == Some(name) {
                continue;
            }
            let mut crew = match crews.get(name) {
                Some(crew) => (**crew).clone(),
                None => Crew {
                    service: unknown(name)?,
                    instances: BTreeMap::new(),
                    nginx: self.nginx.cloned(),
                    standing: Standing::Leaving,
                },
            };
            if !crew.instances.contains_key(slot) {
                let instance = self.begin(row.instance.whole(), &crew.service)?;
                crew.instances.insert(*slot, instance);
            }
            crews.insert(name.clone(), Arc::new(crew));
        }
        Ok(crews)
    }

    /// Every job of a daemon that comes up.
    pub(super) fn jobs(&self) -> Result<Jobs, DaemonError> {
        let mut jobs = Jobs::new();
        for name in self.config.services.keys() {
            if let Some(job) = self.job(name)? {
                jobs.insert(name.clone(), job);
            }
        }
        Ok(jobs)
    }

    /// Begins to keep the job `name`, if it is one.
    pub(super) fn job(&self, name: &ServiceName) -> Result<Option<Job>, DaemonError> {
        let Some(service) = self.config.services.get(name) else { return Ok(None) };
        let Some(job) = service.job.as_deref() else { return Ok(None) };
        let instance = self.begin(InstanceId::new(name.clone(), Slot::Sole), service)?;
        Ok(Some(Job::begin(Arc::clone(service), job.clone(), instance, self.ground.store.clone())))
    }

    /// The crew of `service`: the instances that `there` has, and those that are missing. What it
    /// has in slots that are not configured stays with it until it is stopped.
    pub(super) fn crew(
        &self,
        service: &Arc<Service>,
        there: Option<&Crew>,
    ) -> Result<Crew, DaemonError> {
        let service = Arc::clone(service);
        let mut instances: BTreeMap<Slot, Instance> =
            there.map(|crew| crew.instances.clone()).unwrap_or_default();
        for slot in service.slots.all() {
            if let Entry::Vacant(vacant) = instances.entry(slot) {
                let id = InstanceId::new(service.name.clone(), slot);
                vacant.insert(self.begin(id, &service)?);
            }
        }
        let nginx = self.nginx.filter(|_| service.upstream.is_some()).cloned();
        Ok(Crew { service, instances, nginx, standing: Standing::Configured })
    }

    /// Begins to drive one instance, by what the store knows of it.
    pub(super) fn begin(
        &self,
        id: InstanceId,
        service: &Arc<Service>,
    ) -> Result<Instance, DaemonError> {
        let (service, ground, outlet) = (Arc::clone(service), self.ground.clone(), self.outlet());
        let of_slot = |row: &&SlotRow| {
            let InstanceId { service, slot, worker } = &row.instance;
            worker.is_some() && *service == id.service && *slot == id.slot
        };
        let workers: Vec<SlotRow> = self.rows.iter().filter(of_slot).cloned().collect();
        // What is left of one that is not configured any more is as many as it is.
        let left = || workers.iter().filter_map(|row| Some(row.instance.worker?.number)).max();
        let left = if self.config.services.contains_key(&id.service) { None } else { left() };
        if let Some(count) = service.held().or(left) {
            return Ok(Instance::begin_held(id, (service, count), &workers, ground, outlet)?);
        }
        let row = self.rows.iter().find(|row| row.instance == id).cloned();
        Ok(Instance::begin(id, service, row, ground, outlet)?)
    }

    /// Where the output of the instances goes.
    pub(super) fn outlet(&self) -> Outlet<'_> {
        Outlet { log_dir: &self.config.log_dir, keeping: keeping(&self.config.logs) }
    }

    /// Slots that are not configured any more and in which a process lives.
    fn left_over(&self) -> impl Iterator<Item = &SlotRow> {
        let configured = |id: &InstanceId| {
            let service = self.config.services.get(&id.service);
            service.is_some_and(|service| service.slots.all().contains(&id.slot))
        };
        let left =
            move |row: &&SlotRow| !configured(&row.instance) && strays::lives(row, self.ground);
        self.rows.iter().filter(left)
    }
}

/// What is kept running: every service that is no job.
pub(super) fn kept(config: &Config) -> impl Iterator<Item = &Arc<Service>> {
    config.services.values().filter(|service| service.job.is_none())
}

/// A definition for what nobody defines any more: it is only ever stopped.
fn unknown(name: &ServiceName) -> Result<Arc<Service>, DaemonError> {
    let text = format!("services: {{\"{name}\": {{command: [none], directory: /}}}}");
    let config = Config::parse(&text, Path::new("/"))?;
    let found = config.services.get(name).cloned();
    found.ok_or_else(|| DaemonError::Forgotten(name.clone()))
}

fn keeping(logs: &Logs) -> Keeping {
    let packing = if logs.compress { Packing::Gzip } else { Packing::Plain };
    let also = match logs.to {
        LogsTo::Files => Also::Nowhere,
        LogsTo::Journal => Also::Journal,
    };
    Keeping { size: logs.size, files: logs.keep, age: logs.age, packing, also }
}

/// How nginx reaches each service that is behind it.
pub(super) fn site(config: &Config) -> Site {
    let behind = config.services.values().filter_map(|service| {
        let options = service.upstream.as_deref()?;
        let flip = config.nginx.as_ref().filter(|_| options.switch == config::Switch::Flip);
        let flip = flip.and_then(|nginx| Flip::new(&service.name, service.slots, &nginx.flags));
        let (options, switch) = (options.clone(), flip.map_or(Switch::Reload, Switch::Flip));
        Some((service.name.clone(), Proxied { options, host: service.host(), switch }))
    });
    behind.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_defines_can_be_stopped() {
        let service = unknown(&ServiceName::new("true").unwrap()).unwrap();
        assert_eq!(service.name.as_str(), "true");
        assert!(!service.stop.deadline.is_zero());
    }
}
