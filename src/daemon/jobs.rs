//! Jobs: what the control socket asks of them, and their part in coming up and going down.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    Daemon,
    order::{Graph, Standing},
    problems, views,
};
use crate::{
    api::{
        operations::{Answer, AtBoot, Caller},
        types::{Enable, Enablement, JobStatus, Run},
    },
    ident::ServiceName,
    job::{Job, JobError, View},
    store::{Boots, RunRow, Whose},
};

/// How many past runs are told.
const HISTORY: usize = 50;
/// How long a job may take to write down that its run was cut by the daemon's end.
const LAST_ROW: Duration = Duration::from_secs(5);
/// What a job is told to run for when everything comes up.
const FOR_OTHERS: &str = "what depends on it starts";

impl Daemon {
    /// Lets jobs keep to their schedules.
    pub(super) async fn open_jobs(&self) {
        let all = self.jobs.all();
        for job in all.iter().filter(|job| !self.disabled.has(&job.service.name)) {
            self.open_job(job).await;
        }
    }

    /// Lets a job keep to its schedule, as far as what it requires is there.
    pub(super) async fn open_job(&self, job: &Job) {
        let (me, service) = (self.me.get().cloned(), Arc::clone(&job.service));
        let gate = move || {
            let daemon = me.as_ref().and_then(Weak::upgrade)?;
            daemon.lack(&service.depends).map(|hold| hold.to_string())
        };
        job.open(Box::new(gate)).await;
    }

    /// Lets a job keep to its schedule, or not; whoever requires it has it run all the same.
    pub(super) async fn set_schedule(
        &self,
        by: &Caller,
        boot: AtBoot,
        job: &Job,
        how: &Enable,
    ) -> Answer<Enablement> {
        let name = &job.service.name;
        if how.now {
            return Err(problems::is_job(name));
        }
        match boot {
            AtBoot::Enabled => {
                self.put_boots(by, name, Boots::AsLeft).await?;
                self.open_job(job).await;
            }
            AtBoot::Disabled => {
                self.put_boots(by, name, Boots::Not).await?;
                job.rest().await;
            }
        }
        let (service, enabled) = (name.to_string(), boot == AtBoot::Enabled);
        Ok(Enablement { service, enabled, rollout: None })
    }

    /// Lets no job begin any more.
    pub(super) async fn close_jobs(&self) {
        for job in self.jobs.all() {
            job.close().await;
        }
    }

    /// Jobs that have to run before somebody who does not live yet can start.
    pub(super) fn needed(
        &self,
        graph: &Graph,
        lives: &BTreeSet<ServiceName>,
    ) -> BTreeSet<ServiceName> {
        let mut waiting: Vec<&ServiceName> =
            self.engine_names(graph).filter(|name| !lives.contains(*name)).collect();
        let mut needed = BTreeSet::new();
        while let Some(depends) = waiting.pop().and_then(|name| graph.get(name)) {
            let jobs = depends.all().filter(|on| self.jobs.has(on));
            waiting.extend(jobs.filter(|job| needed.insert((*job).clone())));
        }
        needed
    }

    fn engine_names<'g>(&self, graph: &'g Graph) -> impl Iterator<Item = &'g ServiceName> {
        graph.keys().filter(|name| !self.jobs.has(name))
    }

    /// Runs a job to its end, for those that depend on it.
    pub(super) async fn run_before(&self, job: &Job) {
        let id = match job.run(FOR_OTHERS).await {
            Ok(run) => run.id,
            // One of an earlier daemon: what it does is what would be done.
            Err(JobError::Busy { run, .. }) => run,
            Err(e) => return self.record_of(&job.service.name, "job.failed", e.to_string()),
        };
        // Its own timeout ends it.
        let mut view = job.watch();
        let _ = view.wait_for(|view| ended(view, id).is_some()).await;
    }

    /// How a job stands for those that depend on it.
    pub(super) fn standing_of(job: &Job) -> Standing {
        match job.view().last {
            None => Standing::Stopped,
            Some(RunRow { end: None, .. }) => Standing::Starting,
            Some(RunRow { end: Some(end), .. }) if end.success => Standing::Up,
            Some(_) => Standing::Failed,
        }
    }

    /// Runs a job because somebody asked.
    pub(super) async fn run_job(&self, by: Caller, name: &ServiceName) -> Answer<Run> {
        self.may_change()?;
        let job = self.job(name)?;
        if let Some(hold) = self.lack(&job.service.depends) {
            return Err(problems::held(name, &hold));
        }
        match job.run(&format!("asked by uid {}", by.uid)).await {
            Ok(run) => Ok(views::run(&run)),
            Err(e) => Err(problems::of_job(&e)),
        }
    }

    /// Stops the run of a job that goes on.
    pub(super) async fn stop_job(&self, by: Caller, name: &ServiceName) -> Answer<Run> {
        let job = self.job(name)?;
        let stopping = job.stop(&format!("uid {}", by.uid)).await;
        stopping.map(|run| views::run(&run)).map_err(|e| problems::of_job(&e))
    }

    /// The last runs of a job, newest first.
    pub(super) async fn runs_of(&self, name: &ServiceName) -> Answer<Vec<Run>> {
        self.job(name)?;
        let runs = self.store.runs(name, HISTORY).await;
        let runs = runs.map_err(|e| problems::failed(&e.to_string()))?;
        Ok(runs.iter().map(views::run).collect())
    }

    /// One run, when it has ended or after `within`.
    pub(super) async fn run_ended(&self, id: u64, within: Duration) -> Answer<Run> {
        let read = || async {
            let run = self.store.run(id).await.map_err(|e| problems::failed(&e.to_string()))?;
            run.ok_or_else(|| problems::no_run(id))
        };
        let run = read().await?;
        if run.end.is_some() {
            return Ok(views::run(&run));
        }
        let job = match &run.job {
            Whose::Job(name) => self.jobs.get(name),
            Whose::App(_) => {
                self.tasks.ended(id, within).await;
                let progress = self.tasks.progress(id);
                return Ok(Run { progress, ..views::run(&read().await?) });
            }
        };
        let Some(job) = job else { return Ok(views::run(&run)) };
        let view = job.until(within, |view| ended(view, id).is_some()).await;
        match view.last.filter(|last| last.id == id) {
            Some(run) => Ok(views::run(&run)),
            None => Ok(views::run(&read().await?)),
        }
    }

    fn job(&self, name: &ServiceName) -> Answer<Job> {
        self.jobs.get(name).ok_or_else(|| problems::no_job(name))
    }

    /// Every job, for `status`.
    pub(super) fn job_statuses(&self) -> Vec<JobStatus> {
        let status = |job: &Job| {
            let (name, view) = (&job.service.name, job.view());
            let configured = job.service.job.as_ref();
            JobStatus {
                name: name.to_string(),
                schedule: configured
                    .and_then(|job| job.schedule.as_ref())
                    .map(|schedule| schedule.text().to_owned()),
                next: view.next.map(views::second),
                last: view.last.as_ref().map(views::run),
                enabled: !self.disabled.has(name),
                waits: self.waits.of(name).filter(|_| view.running().is_none()),
            }
        };
        self.jobs.all().iter().map(status).collect()
    }
}

/// The run `id`, or one after it, has ended.
fn ended(view: &View, id: u64) -> Option<()> {
    view.last.as_ref().filter(|last| last.id > id || last.id == id && last.end.is_some()).map(drop)
}

/// Waits until the end of a run that was cut is written down.
pub(super) async fn settle(job: &Job) {
    let view = job.until(LAST_ROW, |view| view.running().is_none()).await;
    if view.running().is_some() {
        tracing::warn!(job = %job.service.name, "the end of its run is not written down yet");
    }
}
