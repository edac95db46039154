//! What goes on for applications: each a run, with an id, progress, an end, and a way to end it early
//! (`C3`). One at a time for each application.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Daemon, problems};
use crate::{
    api::{
        operations::Answer,
        types::{Problem, ProblemCode},
    },
    ident::AppName,
    store::{NewRun, RunEnd, RunRow, Store, Whose},
};

/// How often it is tried to write down an end, and the time between two tries.
const WRITES: (u32, Duration) = (5, Duration::from_secs(2));

/// How long what goes on may take to end when aibkd does.
const LAST: Duration = Duration::from_secs(20);

/// What goes on.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<BTreeMap<AppName, Task>>);

/// One of them.
#[derive(Debug, Clone)]
struct Task {
    run: RunRow,
    cancel: CancellationToken,
    progress: watch::Receiver<String>,
}

/// A task that begins.
pub(super) struct Begin {
    pub(super) app: AppName,
    /// Why, for people.
    pub(super) cause: String,
    /// The moment of the schedule that it is for.
    pub(super) scheduled: Option<Timestamp>,
}

/// Hears how far a task is.
pub(super) type Progress = Arc<watch::Sender<String>>;

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes on for `app`.
    pub(super) fn of(&self, app: &AppName) -> Option<RunRow> {
        self.lock().get(app).map(|task| task.run.clone())
    }

    fn by_id(&self, id: u64) -> Option<Task> {
        self.lock().values().find(|task| task.run.id == id).cloned()
    }

    /// How far the run `id` is, if it goes on.
    pub(super) fn progress(&self, id: u64) -> Option<String> {
        let task = self.by_id(id)?;
        let told = task.progress.borrow().clone();
        Some(told).filter(|told| !told.is_empty())
    }

    /// Waits until the run `id` has ended, at most `within`.
    pub(super) async fn ended(&self, id: u64, within: Duration) {
        if let Some(mut task) = self.by_id(id) {
            let gone = async { while task.progress.changed().await.is_ok() {} };
            let _ = timeout(within, gone).await;
        }
    }

    /// Ends the run `id` early; whether it goes on at all.
    pub(super) fn cancel(&self, id: u64) -> bool {
        self.by_id(id).map(|task| task.cancel.cancel()).is_some()
    }

    /// Ends all of them, because the daemon ends.
    pub(super) async fn end(&self) {
        let all: Vec<Task> = self.lock().values().cloned().collect();
        for task in &all {
            task.cancel.cancel();
        }
        for task in all {
            self.ended(task.run.id, LAST).await;
        }
    }
}

impl Daemon {
    /// Begins `work` for an application. It is written down first (`S1`), and goes on whoever asked
    /// for it goes away. `work` gets what hears of its progress; dropped, it leaves everything as it
    /// was, which `tidy` sees to where that takes time.
    pub(super) async fn begin_task<W, T>(
        self: &Arc<Self>,
        begin: Begin,
        work: impl FnOnce(Progress) -> W,
        tidy: T,
    ) -> Answer<RunRow>
    where
        W: Future<Output = Result<String, String>> + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let Begin { app, cause, scheduled } = begin;
        let _turn = self.task_turn.lock().await;
        if let Some(other) = self.tasks.of(&app) {
            return Err(busy(&app, &other));
        }
        let message = format!("{app}: {cause}");
        let job = Whose::from(&app);
        let new = NewRun { job, cause, scheduled, begun: Timestamp::now() };
        let run = self.store.begin_run(new).await.map_err(|e| problems::failed(&e.to_string()))?;
        self.record("backup.begun", message);
        let (progress, seen) = watch::channel(String::new());
        let progress = Arc::new(progress);
        let cancel = CancellationToken::new();
        let task = Task { run: run.clone(), cancel: cancel.clone(), progress: seen };
        self.tasks.lock().insert(app.clone(), task);
        let work = work(Arc::clone(&progress));
        let (daemon, id) = (Arc::clone(self), run.id);
        tokio::spawn(async move {
            let done = tokio::select! {
                done = work => done,
                () = cancel.cancelled() => {
                    tidy.await;
                    Err("was cancelled; everything is as it was".to_owned())
                }
            };
            daemon.end_task(&app, id, done).await;
            drop(progress);
        });
        Ok(run)
    }

    async fn end_task(&self, app: &AppName, id: u64, done: Result<String, String>) {
        let (success, told) = match done {
            Ok(told) => (true, told),
            Err(told) => (false, told),
        };
        write_end(&self.store, id, success, &told).await;
        let kind = if success { "backup.done" } else { "backup.failed" };
        self.record(kind, format!("{app}: {told}"));
        self.tasks.lock().remove(app);
    }

    /// What an earlier daemon left: runs whose end nobody saw.
    pub(super) async fn end_lost_tasks(&self) {
        for name in self.config.now().apps.keys() {
            let last = self.store.runs(name, 1).await.unwrap_or_default().into_iter().next();
            if let Some(lost) = last.filter(|run| run.end.is_none()) {
                let told = "was cut by the end of aibkd; what it left is removed by the next one";
                write_end(&self.store, lost.id, false, told).await;
                self.record("backup.failed", format!("{name}: {told}"));
            }
        }
    }
}

async fn write_end(store: &Store, id: u64, success: bool, told: &str) {
    let end = RunEnd { at: Timestamp::now(), success, told: told.to_owned() };
    for left in (0..WRITES.0).rev() {
        match store.end_run(id, end.clone()).await {
            Ok(()) => return,
            Err(e) if left == 0 => tracing::error!("the end of run {id} is not written down: {e}"),
            Err(_) => sleep(WRITES.1).await,
        }
    }
}

pub(super) fn busy(app: &AppName, other: &RunRow) -> Problem {
    let message = format!(
        "{app} is busy: run {} goes on since {:.0} ({})",
        other.id, other.begun, other.cause
    );
    let hint = format!("wait for it, or `aibkctl backup cancel {}`", other.id);
    Problem { code: ProblemCode::Busy, message, hint: Some(hint) }
}
