//! Workers of one release on one socket.

use std::sync::Arc;

use super::relay::Relay;
use crate::{
    config::{ReloadSignal, Service},
    ident::{InstanceId, RolloutId, Side, Worker},
    instance::{Chart, Fresh, Ground, Instance, InstanceError, Order, Phase, View},
    latest,
    process::{Capture, Door, Gate},
    release::Release,
    store::SlotRow,
};
use futures_util::future::select_all;

/// The workers on one side.
pub(super) struct Set {
    door: Door,
    workers: Vec<(Instance, latest::Receiver<View>)>,
    /// All of them were ready at once since they were started.
    proven: bool,
    /// Workers of it that hang, and who is to take their places.
    pub(super) relays: Vec<Relay>,
}

impl Set {
    pub(super) const fn new(side: Side, gate: Arc<Gate>) -> Self {
        Self { door: Door { gate, side }, workers: vec![], proven: false, relays: vec![] }
    }

    pub(super) const fn side(&self) -> Side {
        self.door.side
    }

    pub(super) fn has(&self, worker: Worker) -> bool {
        self.workers.iter().any(|(instance, _)| instance.id().worker == Some(worker))
    }

    /// Begins to drive a worker.
    pub(super) fn add(
        &mut self,
        id: InstanceId,
        row: Option<SlotRow>,
        capture: Capture,
        service: &Arc<Service>,
        ground: &Ground,
    ) {
        let door = Some(self.door.clone());
        let worker = Instance::drive(id, Arc::clone(service), row, ground.clone(), (capture, door));
        let view = worker.watch();
        self.workers.push((worker, view));
    }

    pub(super) fn worker(&self, number: u16) -> Option<&Instance> {
        let is_it = |id: &InstanceId| id.worker.is_some_and(|worker| worker.number == number);
        self.workers.iter().map(|(worker, _)| worker).find(|worker| is_it(worker.id()))
    }

    /// The lowest number that no worker has.
    pub(super) fn free_number(&self) -> u16 {
        (1..u16::MAX).find(|number| self.worker(*number).is_none()).unwrap_or(u16::MAX)
    }

    pub(super) async fn start(
        &mut self,
        release: &Release,
        rollout: Option<RolloutId>,
        count: u16,
    ) -> Result<(), InstanceError> {
        self.proven = false;
        for (worker, _) in &self.workers {
            if is_among(worker, count) {
                worker.start(release.clone(), rollout).await?;
            } else {
                worker.stop().await?;
            }
        }
        Ok(())
    }

    pub(super) async fn adapt(&self, service: &Arc<Service>) -> Result<(), InstanceError> {
        for (worker, _) in &self.workers {
            worker.adapt(Arc::clone(service)).await?;
        }
        Ok(())
    }

    pub(super) async fn stop(&mut self) -> Result<(), InstanceError> {
        for (worker, _) in &self.workers {
            worker.stop().await?;
        }
        Ok(())
    }

    pub(super) async fn forgive(&mut self) -> Result<(), InstanceError> {
        for (worker, _) in &self.workers {
            worker.forgive().await?;
        }
        Ok(())
    }

    /// Sends `signal` to the main process of each worker.
    pub(super) async fn signal(&self, signal: ReloadSignal) -> Result<(), InstanceError> {
        for (worker, _) in &self.workers {
            worker.order(Order::Signal(signal)).await?;
        }
        Ok(())
    }

    pub(super) async fn halt(&mut self) -> Result<(), InstanceError> {
        for (worker, _) in &self.workers {
            worker.halt().await?;
        }
        Ok(())
    }

    /// Established connections that its processes have.
    pub(super) async fn connections(&self) -> usize {
        let mut sum = 0;
        for (worker, _) in &self.workers {
            sum += worker.connections().await;
        }
        sum
    }

    pub(super) fn charts(&self) -> Vec<Arc<Chart>> {
        self.workers.iter().map(|(worker, _)| worker.chart()).collect()
    }

    pub(super) fn views(&self) -> Vec<View> {
        self.workers.iter().map(|(worker, _)| worker.view()).collect()
    }

    /// It is what is asked for, and on its way or there.
    pub(super) fn is_right(
        &self,
        release: &Release,
        rollout: Option<RolloutId>,
        fresh: Fresh,
    ) -> bool {
        let good = |view: &View| {
            view.wanted
                && view.phase.is_up()
                && view.phase != Phase::Stopping
                && view.release.as_ref() == Some(release)
                && (fresh == Fresh::Any || view.rollout == rollout)
        };
        self.views().iter().all(good)
    }

    /// Notes that all are ready, and forgets those that have ended and are more than `count`, or whose
    /// place was taken.
    pub(super) fn look(&mut self, count: u16) {
        let is_over = |worker: &Instance| worker.view().phase == Phase::Stopped;
        let wanted = self.views().iter().filter(|view| view.wanted).count();
        let complete = wanted >= usize::from(count);
        self.workers.retain(|(worker, _)| is_among(worker, count) && !complete || !is_over(worker));
        self.proven |= self.views().iter().all(|view| view.phase == Phase::Ready || !view.wanted)
            && self.views().iter().any(|view| view.wanted);
    }

    pub(super) const fn is_proven(&self) -> bool {
        self.proven
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.views().iter().all(|view| view.phase == Phase::Stopped)
    }

    /// Nothing of it runs, or will again by itself.
    pub(super) fn is_down(&self) -> bool {
        self.views().iter().all(|view| !view.phase.is_up())
    }
}

fn is_among(worker: &Instance, count: u16) -> bool {
    worker.id().worker.is_some_and(|worker| worker.number <= count)
}

/// Waits until one of the workers of `set` is seen to change.
pub(super) async fn changed(set: Option<&mut Set>) {
    let views = set.into_iter().flat_map(|set| &mut set.workers).map(|(_, view)| {
        Box::pin(async {
            if view.changed().await.is_err() {
                // It ends only with the daemon.
                std::future::pending::<()>().await;
            }
        })
    });
    let views: Vec<_> = views.collect();
    if views.is_empty() {
        return std::future::pending().await;
    }
    select_all(views).await;
}
