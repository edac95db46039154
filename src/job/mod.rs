//! Jobs: commands that run to their end, when asked to or by a schedule.
//!
//! A run is the life of an instance that is not started again. One task per job begins runs, sees
//! their ends and writes both down; what it is goes out as a [`View`] in a `watch`.

pub mod due;
mod keeper;
mod verdict;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    config::{self, Service},
    ident::ServiceName,
    instance::{Instance, InstanceError},
    store::{RunRow, Store, StoreError},
};

/// A run that was not begun.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Another one goes on.
    #[error("{job} runs already (run {run}, since {since})")]
    Busy {
        /// Which job.
        job: ServiceName,
        /// The run that goes on.
        run: u64,
        /// When it began.
        since: Timestamp,
    },
    /// It could not be written down.
    #[error("cannot write down that {0} runs, and so it was not started: {1}")]
    Store(ServiceName, StoreError),
    /// Nothing of it goes on.
    #[error("{0} does not run")]
    Idle(ServiceName),
    /// What goes on of it cannot be stopped.
    #[error("{0} cannot be stopped: {1}")]
    NotStopped(ServiceName, InstanceError),
    /// It is not configured any more.
    #[error("{0} is not configured any more, and is only seen out")]
    Leaving(ServiceName),
    /// The daemon is ending.
    #[error("{0} is not run any more: the daemon is ending")]
    Ending(ServiceName),
}

/// A job as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Its last run, which may go on.
    pub last: Option<RunRow>,
    /// When it is to run by its schedule.
    pub next: Option<Timestamp>,
}

impl View {
    /// The run that goes on.
    #[must_use]
    pub fn running(&self) -> Option<&RunRow> {
        self.last.as_ref().filter(|run| run.end.is_none())
    }
}

/// Says what keeps a job from running now.
pub type Gate = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// What can be asked of a keeper.
enum Order {
    /// Keep to the schedule from now on.
    Open(Gate),
    /// Leave the schedule alone.
    Rest,
    /// Begin nothing before the next [`Order::Adapt`]: it is not configured any more.
    Leave,
    /// Begin nothing any more.
    Close,
    /// Go by this definition from the next run on.
    Adapt(Arc<Service>, config::Job),
    /// Run now.
    Run { cause: String, done: Done },
    /// Stop what goes on.
    Stop { by: String, done: Done },
}

/// Takes the answer to an order.
type Done = oneshot::Sender<Result<RunRow, JobError>>;

/// Handle of one job. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Job {
    /// What the operator configured.
    pub service: Arc<Service>,
    /// What its runs are lives of.
    pub instance: Instance,
    orders: mpsc::Sender<Order>,
    view: watch::Receiver<View>,
}

impl Job {
    /// Begins to keep the job that `service` is: a run that goes on is taken over. Nothing is run
    /// by the schedule before [`Job::open`].
    #[must_use]
    pub fn begin(
        service: Arc<Service>,
        job: config::Job,
        instance: Instance,
        store: Store,
    ) -> Self {
        let (orders, taken) = mpsc::channel(8);
        let (tell, view) = watch::channel(View::default());
        let keeper = keeper::Keeper::new(Arc::clone(&service), job, instance.clone(), store, tell);
        tokio::spawn(keeper.run(taken));
        Self { service, instance, orders, view }
    }

    /// Keeps to the schedule from now on, as far as `gate` lets it.
    pub async fn open(&self, gate: Gate) {
        // Nobody is there only when the daemon is ending.
        let _ = self.orders.send(Order::Open(gate)).await;
    }

    /// Runs only when asked to from now on, until it is opened again.
    pub async fn rest(&self) {
        let _ = self.orders.send(Order::Rest).await;
    }

    /// The same job, by another definition from its next run on. One that was let go is kept again.
    #[must_use]
    pub async fn adapt(self, service: Arc<Service>, job: config::Job) -> Self {
        let _ = self.orders.send(Order::Adapt(Arc::clone(&service), job)).await;
        Self { service, ..self }
    }

    /// Begins no run any more: it is not configured. One that goes on ends by itself.
    pub async fn leave(&self) {
        let _ = self.orders.send(Order::Leave).await;
    }

    /// Begins no run any more.
    pub async fn close(&self) {
        let _ = self.orders.send(Order::Close).await;
    }

    /// Begins a run. It is written down, and its process was spawned or has failed to, when this
    /// returns.
    ///
    /// # Errors
    /// When another one goes on, or it cannot be written down.
    pub async fn run(&self, cause: &str) -> Result<RunRow, JobError> {
        self.order(|done| Order::Run { cause: cause.to_owned(), done }).await
    }

    /// Begins to stop the run that goes on, as `by` asks: by its stop signal, after its stop deadline
    /// by SIGKILL. It has failed then.
    ///
    /// # Errors
    /// When none goes on, or what is meant to happen cannot be written down.
    pub async fn stop(&self, by: &str) -> Result<RunRow, JobError> {
        self.order(|done| Order::Stop { by: by.to_owned(), done }).await
    }

    async fn order(&self, order: impl FnOnce(Done) -> Order) -> Result<RunRow, JobError> {
        let (done, answer) = oneshot::channel();
        let ending = || JobError::Ending(self.service.name.clone());
        let order = order(done);
        self.orders.send(order).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }

    /// What it is now.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Waits until `is` holds of it, at most `within`; gives what it is then.
    pub async fn until(&self, within: Duration, is: impl Fn(&View) -> bool) -> View {
        let mut view = self.view.clone();
        // Its keeper is gone only when the daemon ends.
        let _ = tokio::time::timeout(within, view.wait_for(|view| is(view))).await;
        self.view()
    }

    /// What it is, and every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.clone()
    }
}
