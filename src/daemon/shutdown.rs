//! How a daemon ends: on purpose only, and in order.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

use super::{
    Daemon, DaemonError, jobs, order,
    reexec::Successor,
    systemd::{self, job::Job},
};
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

/// What becomes of the instances when the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// They are stopped, in order.
    StopAll,
    /// They run on, for the next daemon to take over (`P4`).
    Leave,
}

/// Why a daemon that is up ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// By a signal.
    End(Sign),
    /// Another program is to take its place.
    Replace(Successor),
}

/// A signal that ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// SIGTERM.
    Term,
    /// SIGINT: Ctrl-C, where it runs in a terminal.
    Int,
}

impl Sign {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Int => "SIGINT",
        }
    }
}

/// What a signal means, by what systemd does with our unit. Only a stop takes the applications with
/// it: a restart, or a SIGTERM that systemd knows nothing of, is followed by another daemon.
pub(super) const fn goal(sign: Sign, job: &Job) -> Goal {
    match (sign, job) {
        (Sign::Int, _) | (Sign::Term, Job::NotAUnit | Job::Stop) => Goal::StopAll,
        (Sign::Term, Job::Other | Job::Unknown(_)) => Goal::Leave,
    }
}

impl Signals {
    pub(super) fn listen() -> Result<Self, DaemonError> {
        let listen = |kind| signal(kind).map_err(DaemonError::Signals);
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    /// Waits until the daemon is to end, and says why; tells systemd when everything is up.
    ///
    /// # Errors
    /// Why the daemon could not come up as a whole. It is not ready then, and has to end.
    pub(super) async fn wait_for(
        mut self,
        booted: JoinHandle<Result<(), DaemonError>>,
        mut replaced: watch::Receiver<Option<Successor>>,
        systemd: &systemd::Link,
    ) -> Result<Asked, DaemonError> {
        let up = async {
            booted.await.map_err(DaemonError::CutShort)??;
            systemd.ready();
            std::future::pending().await
        };
        let replaced = async {
            match replaced.wait_for(Option::is_some).await.map(|successor| successor.clone()) {
                Ok(Some(successor)) => Asked::Replace(successor),
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            failed = up => failed,
            _ = self.term.recv() => Ok(Asked::End(Sign::Term)),
            _ = self.int.recv() => Ok(Asked::End(Sign::Int)),
            asked = replaced => Ok(asked),
        }
    }
}

impl Daemon {
    /// Ends what the daemon does, and lets the applications run on: rollouts come to rest, and what
    /// was read of their output is written.
    pub(super) async fn leave_everything(&self) {
        self.deploys.freeze().await;
        self.engine.freeze().await;
        self.close_jobs().await;
        self.tasks.end().await;
        let (crews, jobs) = (self.engine.crews(), self.jobs.all());
        let instances = crews.values().flat_map(|crew| crew.instances.values());
        let instances = instances.chain(jobs.iter().map(|job| &job.instance));
        join_all(instances.chain(&self.managed_nginx).map(flush)).await;
    }

    /// Stops nginx where it is ours (it finishes what it serves), then every instance, each before
    /// what it depends on. They stay meant to run: the next daemon starts them again.
    pub(super) async fn stop_everything(self: &Arc<Self>) {
        // A rollout under way would take what is stopped here for dead.
        self.deploys.freeze().await;
        self.engine.freeze().await;
        self.close_jobs().await;
        self.tasks.end().await;
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
            // Whoever has stopped meanwhile is one question less.
            while let Some(Some(stopped)) = stops.next().now_or_never() {
                running.remove(&stopped);
            }
        }
        if let Err(e) = self.store.end_daemon(&self.boot).await {
            tracing::error!("the next daemon will take this for a crash: {e}");
        }
    }

    /// Stops every instance of a service, or the run of a job.
    async fn stop(&self, name: ServiceName) -> ServiceName {
        if let Some(job) = self.jobs.get(&name) {
            halt(job.instance.clone(), job.service.stop.deadline).await;
            jobs::settle(&job).await;
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
    flush(&instance).await;
}

async fn flush(instance: &Instance) {
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
        let (_nobody, replaced) = watch::channel(None);
        let booted = tokio::spawn(async move { Err(failing().into()) });
        let ended = Signals::listen().unwrap().wait_for(booted, replaced.clone(), &link).await;
        assert!(matches!(ended, Err(DaemonError::Store(_))), "{ended:?}");
        let booted = tokio::spawn(async { panic!("on purpose") });
        let ended = Signals::listen().unwrap().wait_for(booted, replaced.clone(), &link).await;
        assert!(matches!(ended, Err(DaemonError::CutShort(_))), "{ended:?}");
        assert!(!link.is_ready());
    }

    #[test]
    fn only_a_stop_takes_the_applications_with_it() {
        let unknown = Job::Unknown(String::new());
        for (job, expected) in [
            (Job::NotAUnit, Goal::StopAll),
            (Job::Stop, Goal::StopAll),
            (Job::Other, Goal::Leave),
            (unknown, Goal::Leave),
        ] {
            assert_eq!(goal(Sign::Term, &job), expected, "{job:?}");
            assert_eq!(goal(Sign::Int, &job), Goal::StopAll, "{job:?}");
        }
    }
}
