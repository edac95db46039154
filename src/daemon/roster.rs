//! Which jobs there are, as the configuration in force has it, and those that are only seen out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Daemon, muster::Muster, order::Lack, problems};
use crate::{
    api::operations::Answer,
    config::{
        Config, Depends,
        change::{Changes, Difference},
    },
    ident::{InstanceId, ServiceName, Slot},
    job::Job,
};

/// Every job, by name.
pub(super) type Jobs = BTreeMap<ServiceName, Job>;

/// The jobs of a daemon.
#[derive(Debug)]
pub(super) struct Roster(Mutex<Jobs>);

impl Roster {
    pub(super) const fn new(jobs: Jobs) -> Self {
        Self(Mutex::new(jobs))
    }

    /// The job `name`.
    pub(super) fn get(&self, name: &ServiceName) -> Option<Job> {
        self.lock().get(name).cloned()
    }

    /// Whether `name` is a job.
    pub(super) fn has(&self, name: &ServiceName) -> bool {
        self.lock().contains_key(name)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Job> {
        self.lock().values().cloned().collect()
    }

    fn put(&self, job: Job) {
        self.lock().insert(job.service.name.clone(), job);
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Daemon {
    /// Brings the jobs to where `new` has them. A run that goes on ends as it began.
    pub(super) async fn change_jobs(&self, new: &Config, between: &Changes) -> Answer<()> {
        for (name, difference) in &between.jobs {
            match (difference, self.jobs.get(name), new.services.get(name)) {
                (Difference::Removed, Some(job), _) => self.let_go(job).await,
                (_, there, Some(service)) => {
                    let Some(of) = service.job.as_deref() else { continue };
                    let job = match there {
                        Some(job) => job.adapt(Arc::clone(service), of.clone()).await,
                        None => self.new_job(new, name).await?,
                    };
                    self.jobs.put(job.clone());
                    if !self.disabled.has(name) {
                        self.open_job(&job).await;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Nothing that its schedule says was due before it was there.
    async fn new_job(&self, config: &Config, name: &ServiceName) -> Answer<Job> {
        let failed = |e: &dyn std::fmt::Display| problems::failed(&format!("{name}: {e}"));
        let now = jiff::Timestamp::now();
        self.store.deal(name, now).await.map_err(|e| failed(&e))?;
        let muster = Muster { config, nginx: None, ground: &self.ground, rows: &[] };
        let job = muster.job(name).map_err(|e| failed(&e))?;
        job.ok_or_else(|| problems::no_job(name))
    }

    /// No run of it begins any more; it is forgotten when the one that goes on has ended.
    async fn let_go(&self, job: Job) {
        job.leave().await;
        let Some(daemon) = self.me.get().and_then(std::sync::Weak::upgrade) else { return };
        tokio::spawn(async move {
            let mut view = job.watch();
            let ended = view.wait_for(|view| view.running().is_none()).await.is_ok();
            let name = &job.service.name;
            let is_back = daemon.config.now().services.contains_key(name);
            if ended && !is_back {
                daemon.jobs.lock().remove(name);
                let id = InstanceId::new(name.clone(), Slot::Sole);
                if let Err(e) = daemon.store.forget_slot(id).await {
                    tracing::warn!("{e}");
                }
            }
        });
    }

    /// Runs the jobs that `depends` requires and that were never run, each once what it requires
    /// itself is there.
    pub(super) fn run_required(&self, depends: &Depends) {
        for name in &depends.requires {
            let Some(job) = self.jobs.get(name).filter(|job| job.view().last.is_none()) else {
                continue;
            };
            match self.lack(&job.service.depends) {
                Some(hold) if hold.is == Lack::NotRun => self.run_required(&job.service.depends),
                _ => {}
            }
            self.run_when_possible(name);
        }
    }
}
