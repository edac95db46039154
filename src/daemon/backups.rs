//! Dumps of applications: what the control socket asks for, and what is due by a schedule.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::sleep;

use super::{
    Daemon,
    backup_views::{made_told, shown, verified_told},
    problems,
    tasks::{Begin, Progress},
    views,
};
use crate::{
    api::{
        apps::Applications,
        operations::{Answer, Caller, Pending},
        types::{self, Problem, ProblemCode},
    },
    backup::{self, BackupError, Depth, Order, Reason, Restored, Shelf},
    config::{App, change::Changes},
    deploy::{self, DeployError, Prune},
    ident::{AppName, ReleaseId, RunId},
    job::due,
    process::Launcher,
    store::RunRow,
    sys::wall_clock,
};

/// Between two looks at the schedules, where nothing is due.
const LOOK: Duration = Duration::from_secs(3600);
/// Between two tries of what the store or the kernel refused.
const AGAIN: Duration = Duration::from_secs(30);
/// What a scheduled dump is told to be for.
const BY_SCHEDULE: &str = "a dump by its schedule";

/// What is done with the dumps of an application.
enum Work {
    Make(Order),
    Verify(String, Depth),
    Restore(String),
}

/// What serves of an application, and who knows what of it is needed.
struct Live<'d> {
    release: Option<ReleaseId>,
    deploys: &'d deploy::Engine,
}

impl Applications for Daemon {
    fn apps(&self) -> Pending<'_, Answer<Vec<types::App>>> {
        Box::pin(async { Ok(self.app_statuses().await) })
    }

    fn backups(&self, of: AppName) -> Pending<'_, Answer<Vec<types::Backup>>> {
        Box::pin(async move {
            let place = Shelf::of(&*self.app(&of)?).map_err(|e| problem(&e))?;
            let dumps = place.list().await.map_err(|e| problem(&e))?;
            Ok(dumps.into_iter().map(|dump| shown(&place, dump)).collect())
        })
    }

    fn backup(
        &self,
        by: Caller,
        of: AppName,
        how: types::MakeBackup,
    ) -> Pending<'_, Answer<types::Run>> {
        Box::pin(async move {
            let order = Order { pinned: how.pinned, ..Order::new(Reason::Manual) };
            let cause = format!("a dump, asked by uid {}", by.uid);
            self.begin_work(&of, cause, Work::Make(order)).await
        })
    }

    fn verify(
        &self,
        by: Caller,
        of: AppName,
        how: types::VerifyBackup,
    ) -> Pending<'_, Answer<types::Run>> {
        Box::pin(async move {
            let name = self.dump_named(&of, how.dump).await?;
            let depth = if how.drill { Depth::Drilled } else { Depth::Listed };
            let cause = format!("a check of {name}, asked by uid {}", by.uid);
            self.begin_work(&of, cause, Work::Verify(name, depth)).await
        })
    }

    fn restore(
        &self,
        by: Caller,
        of: AppName,
        how: types::RestoreBackup,
    ) -> Pending<'_, Answer<types::Run>> {
        Box::pin(async move {
            let name = self.dump_named(&of, Some(how.dump)).await?;
            if !how.yes {
                let message = format!("{name} would take the place of {of}'s database");
                let hint = "say `--yes`: the database of now is kept beside it";
                return Err(problems::refused(&message, Some(hint.to_owned())));
            }
            let cause = format!("a restore of {name}, asked by uid {}", by.uid);
            self.begin_work(&of, cause, Work::Restore(name)).await
        })
    }

    fn prune(
        &self,
        by: Caller,
        of: AppName,
        how: types::PruneBackups,
    ) -> Pending<'_, Answer<types::PrunedBackups>> {
        Box::pin(async move {
            let way = if how.dry_run { Prune::Foresee } else { Prune::Remove };
            let removed = self.deploys.prune_dumps(&of, way).await;
            let removed = removed.map_err(|e| problems::of_deploy(&e))?;
            let removed: Vec<String> = removed.iter().map(ToString::to_string).collect();
            if way == Prune::Remove && !removed.is_empty() {
                let message = format!("{of}: uid {} let go of {}", by.uid, removed.join(", "));
                self.record("backup.pruned", message);
            }
            Ok(types::PrunedBackups { dry_run: how.dry_run, removed })
        })
    }

    fn cancel_run(&self, by: Caller, id: RunId) -> Pending<'_, Answer<types::Run>> {
        Box::pin(async move {
            let run = self.run_ended(id.0, Duration::ZERO).await?;
            if !self.tasks.cancel(id.0) {
                let hint = run.job.starts_with("app:").then(|| "it has ended".to_owned());
                let hint = hint.or(Some(format!("`aibkctl stop {}` stops a job", run.job)));
                return Err(problems::refused(&format!("run {} cannot be cancelled", id.0), hint));
            }
            self.record("backup.cancelled", format!("run {} is cancelled by uid {}", id.0, by.uid));
            Ok(run)
        })
    }
}

impl Daemon {
    pub(super) fn app(&self, name: &AppName) -> Answer<Arc<App>> {
        let config = self.config.now();
        config.apps.get(name).cloned().ok_or_else(|| Problem {
            code: ProblemCode::NotFound,
            message: format!("there is no application {name}"),
            hint: Some("they stand under `apps` in the configuration".to_owned()),
        })
    }

    /// What is known of `app` beside its code.
    pub(super) fn app_view(&self, app: &App) -> types::App {
        let schedule = app.backup.as_ref().and_then(|backup| backup.schedule.as_ref());
        types::App {
            name: app.name.to_string(),
            services: app.services.iter().map(ToString::to_string).collect(),
            database: app.database.is_some(),
            schedule: schedule.map(|schedule| schedule.text().to_owned()),
            run: self.tasks.of(&app.name).map(|run| run.id),
            current: None,
            code: None,
            by: None,
            since: None,
            rollout: None,
        }
    }

    /// `named`, or the newest, as long as it can be used.
    async fn dump_named(&self, of: &AppName, named: Option<String>) -> Answer<String> {
        let place = Shelf::of(&*self.app(of)?).map_err(|e| problem(&e))?;
        if let Some(name) = named {
            return match place.find(&name).await {
                Ok(found) => Ok(found.name.to_string()),
                Err(e) => Err(problem(&e)),
            };
        }
        let dumps = place.manifests().await.map_err(|e| problem(&e))?;
        dumps.last().map(|dump| dump.name.to_string()).ok_or_else(|| {
            let hint = "`aibkctl backup create` makes one";
            problems::refused(&format!("{of} has no dump"), Some(hint.to_owned()))
        })
    }

    async fn begin_work(&self, of: &AppName, cause: String, work: Work) -> Answer<types::Run> {
        self.may_change()?;
        let app = self.app(of)?;
        Shelf::of(&app).map_err(|e| problem(&e))?;
        let begin = Begin { app: of.clone(), cause, scheduled: None };
        let run = self.begin_for(begin, app, work).await?;
        Ok(views::run(&run))
    }

    async fn begin_for(&self, begin: Begin, app: Arc<App>, work: Work) -> Answer<RunRow> {
        let Some(me) = self.me.get().and_then(std::sync::Weak::upgrade) else {
            return Err(problems::coming_up());
        };
        let launcher = Arc::clone(&self.ground.launcher);
        let tidy = {
            let (launcher, app) = (Arc::clone(&launcher), Arc::clone(&app));
            let leaves = !matches!(work, Work::Make(_) | Work::Verify(_, Depth::Listed));
            async move {
                if leaves {
                    backup::tidy(&launcher, &app).await;
                }
            }
        };
        let (release, deploys) = (self.live_release(&app), self.deploys.clone());
        let done = |progress: Progress| async move {
            let live = Live { release, deploys: &deploys };
            work.done(&launcher, &app, live, &progress).await.map_err(|e| e.to_string())
        };
        me.begin_task(begin, done, tidy).await
    }

    /// The release that the first of its services runs.
    fn live_release(&self, app: &App) -> Option<ReleaseId> {
        let crew = self.engine.crew(app.services.first()?).ok()?;
        let up = crew.instances.values().map(crate::instance::Instance::view);
        up.filter(|view| view.phase.is_up()).find_map(|view| view.release).map(|release| release.id)
    }

    /// What lies behind was never due by a new schedule.
    pub(super) async fn change_apps(&self, between: &Changes) {
        for name in between.apps.keys() {
            if let Err(e) = self.store.deal(name, Timestamp::now()).await {
                tracing::error!("{name}: its schedule counts from now on: {e}");
            }
        }
        self.apps_changed.send_replace(());
    }

    /// Makes dumps when they are due, for as long as there is a daemon.
    pub(super) async fn keep_backups(self: Arc<Self>) {
        let mut changed = self.apps_changed.subscribe();
        loop {
            let next = self.look_at_schedules().await;
            let at = next.unwrap_or_else(|| Timestamp::now() + LOOK);
            tokio::select! {
                reached = wall_clock::reach(at) => if let Err(e) = reached {
                    tracing::warn!("cannot wait for the time of a dump: {e}");
                    sleep(AGAIN).await;
                },
                _ = changed.changed() => {}
            }
        }
    }

    /// Begins what is due; gives when the next is.
    async fn look_at_schedules(self: &Arc<Self>) -> Option<Timestamp> {
        let config = self.config.now();
        let mut next: Option<Timestamp> = None;
        for app in config.apps.values() {
            let at = match self.look_at_schedule(app).await {
                Ok(at) => at,
                Err(why) => {
                    tracing::error!("{}: {why}", app.name);
                    Some(Timestamp::now() + AGAIN)
                }
            };
            next = next.into_iter().chain(at).min();
        }
        next
    }

    async fn look_at_schedule(
        self: &Arc<Self>,
        app: &Arc<App>,
    ) -> Result<Option<Timestamp>, String> {
        let Some(schedule) = app.backup.as_ref().and_then(|backup| backup.schedule.as_ref()) else {
            return Ok(None);
        };
        let name = &app.name;
        let now = Timestamp::now();
        let known = self.store.dealt(name).await.map_err(|e| e.to_string())?;
        if known.is_none() {
            // A schedule counts from when it was first seen: nothing was missed before.
            self.store.deal(name, now).await.map_err(|e| e.to_string())?;
        }
        let dealt = known.unwrap_or(now);
        let next = |dealt| due::next(schedule, Duration::ZERO, 0, dealt, now);
        let Some(due) = next(dealt) else { return Ok(None) };
        if due.start > now {
            return Ok(Some(due.start));
        }
        if let Some(other) = self.tasks.of(name) {
            let message = format!(
                "{name} is due to be dumped, but run {} goes on since {:.0}; this time is left out",
                other.id, other.begun
            );
            self.store.deal(name, due.moment).await.map_err(|e| e.to_string())?;
            self.record("backup.skipped", message);
        } else {
            if due.missed {
                let message = format!("{name} was not dumped at {:.0}, and is now", due.moment);
                self.record("backup.missed", message);
            }
            let cause = BY_SCHEDULE.to_owned();
            let begin = Begin { app: name.clone(), cause, scheduled: Some(due.moment) };
            let work = Work::Make(Order::new(Reason::Schedule));
            self.begin_for(begin, Arc::clone(app), work).await.map_err(|e| e.message)?;
        }
        Ok(next(due.moment).map(|due| due.start))
    }
}

impl Work {
    async fn done(
        self,
        launcher: &Launcher,
        app: &App,
        live: Live<'_>,
        progress: &Progress,
    ) -> Result<String, DeployError> {
        let tell = |now: backup::Progress| drop(progress.send_replace(now.to_string()));
        match self {
            Self::Make(order) => {
                let by_schedule = order.reason == Reason::Schedule;
                let order = Order { release: live.release, ..order };
                let made = backup::create(launcher, app, order, &tell).await?;
                let gone = if by_schedule {
                    live.deploys.prune_dumps(&app.name, Prune::Remove).await?
                } else {
                    vec![]
                };
                Ok(made_told(&made, gone.len())?)
            }
            Self::Verify(name, depth) => {
                let found = backup::verify(launcher, app, &name, depth, &tell).await?;
                Ok(verified_told(&found))
            }
            Self::Restore(name) => {
                let Restored { manifest, old } =
                    backup::restore(launcher, app, &name, &tell).await?;
                Ok(format!(
                    "restored {}: the database {} is as it was at {:.0}\nthe one of before is \
                     called {old} now; drop it when it is not needed any more",
                    manifest.name, manifest.database, manifest.name.at
                ))
            }
        }
    }
}

pub(super) fn problem(error: &BackupError) -> Problem {
    let code = match error {
        BackupError::Unknown { .. } => ProblemCode::NotFound,
        BackupError::Name(_) => ProblemCode::BadRequest,
        BackupError::Busy(_) => ProblemCode::Busy,
        BackupError::NotConfigured(_) | BackupError::Manifest { .. } => ProblemCode::Refused,
        _ => ProblemCode::Failed,
    };
    Problem { code, message: error.to_string(), hint: None }
}
