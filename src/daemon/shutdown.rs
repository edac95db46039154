//! How a daemon ends: on purpose only, and in order.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use super::{Daemon, DaemonError, jobs, order, systemd};
use crate::{
    ident::ServiceName,
    instance::{Instance, Phase},
};

/// What an instance's stop may take longer than its own deadline.
const SLACK: Duration = Duration::from_secs(15);

/// How long the disk may take for an instance's last lines.
const FLUSH: Duration = Duration::from_secs(5);

/// The signals a daemon listens for.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
}

/// SIGHUP, which would end a daemon that does not listen for it.
pub(super) fn hangup() -> Result<Signal, DaemonError> {
    signal(SignalKind::hangup()).map_err(DaemonError::Signals)
}

impl Signals {
    pub(super) fn listen() -> Result<Self, DaemonError> {
        let listen = |kind| signal(kind).map_err(DaemonError::Signals);
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    /// Waits for a signal to stop, and says which; tells systemd when everything is up.
    ///
    /// # Errors
    /// Why the daemon could not come up as a whole. It is not ready then, and has to end.
    pub(super) async fn wait_for(
        mut self,
        booted: JoinHandle<Result<(), DaemonError>>,
        systemd: &systemd::Link,
    ) -> Result<&'static str, DaemonError> {
        let up = async {
            booted.await.map_err(DaemonError::CutShort)??;
            systemd.ready();
            std::future::pending().await
        };
        tokio::select! {
            failed = up => failed,
            _ = self.term.recv() => Ok("SIGTERM"),
            _ = self.int.recv() => Ok("SIGINT"),
        }
    }
}

impl Daemon {
    /// Stops nginx where it is ours (it finishes what it serves), then every instance, each before
    /// what it depends on. They stay meant to run: the next daemon starts them again.
    pub(super) async fn stop_everything(self: &Arc<Self>) {
        // A rollout under way would take what is stopped here for dead.
        self.engine.freeze().await;
        self.close_jobs().await;
        if let Some(nginx) = &self.managed_nginx {
            halt(nginx.clone(), Duration::from_secs(30)).await;
        }
        let graph = self.graph();
        let mut running: BTreeSet<ServiceName> = graph.keys().cloned().collect();
        let mut stopping = BTreeSet::new();
        let mut stops = FuturesUnordered::new();
        while !running.is_empty() {
            for name in order::may_stop(&graph, &running) {
                if stopping.insert(name.clone()) {
                    stops.push(self.stop(name));
                }
            }
            let Some(stopped) = stops.next().await else { break };
            running.remove(&stopped);
        }
        if let Err(e) = self.store.end_daemon(&self.boot).await {
            tracing::error!("the next daemon will take this for a crash: {e}");
        }
    }

    /// Stops every instance of a service, or the run of a job.
    async fn stop(&self, name: ServiceName) -> ServiceName {
        if let Some(job) = self.jobs.get(&name) {
            halt(job.instance.clone(), job.service.stop.deadline).await;
            jobs::settle(job).await;
        } else if let Ok(crew) = self.engine.crew(&name) {
            let halts = crew.instances.values().cloned();
            join_all(halts.map(|instance| halt(instance, crew.service.stop.deadline))).await;
        }
        name
    }
}

async fn halt(instance: Instance, deadline: Duration) {
    let down = |phase| matches!(phase, Phase::Stopped | Phase::Failed);
    let stopped = async {
        instance.halt().await?;
        instance.until(deadline + SLACK, |view| down(view.phase)).await
    };
    if let Err(e) = stopped.await {
        tracing::error!("{e}");
    }
    if tokio::time::timeout(FLUSH, instance.output().flush()).await.is_err() {
        tracing::warn!(instance = %instance.id(), "its last lines could not be written in {FLUSH:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[tokio::test]
    async fn a_daemon_that_cannot_come_up_is_not_ready() {
        let failing = || StoreError::Closed { doing: "read the rollouts" };
        let link = systemd::Link::silent();
        let booted = tokio::spawn(async move { Err(failing().into()) });
        let ended = Signals::listen().unwrap().wait_for(booted, &link).await;
        assert!(matches!(ended, Err(DaemonError::Store(_))), "{ended:?}");
        let booted = tokio::spawn(async { panic!("on purpose") });
        let ended = Signals::listen().unwrap().wait_for(booted, &link).await;
        assert!(matches!(ended, Err(DaemonError::CutShort(_))), "{ended:?}");
        assert!(!link.is_ready());
    }
}
