//! What systemd is told: READY, STATUS, WATCHDOG, STOPPING (sd_notify(3)). Without systemd, nothing.

use std::{sync::Arc, time::Duration};

use sd_notify::NotifyState;

use super::Daemon;
use crate::instance::Phase;

/// The link to systemd.
pub(super) struct Link {
    watchdog: Option<tokio::task::JoinHandle<()>>,
    status: Option<tokio::task::JoinHandle<()>>,
}

impl Link {
    /// Begins to keep the watchdog quiet and the status line true.
    pub(super) fn begin(daemon: &Arc<Daemon>) -> Self {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        Self {
            watchdog: sd_notify::watchdog_enabled()
                .map(|within| tokio::spawn(feed(Arc::clone(daemon), within / 3))),
            status: listens.then(|| tokio::spawn(keep_status(Arc::clone(daemon)))),
        }
    }

    /// A slow boot is no hung boot.
    pub(super) fn tell_progress(&self) {
        tell(&[
            NotifyState::Status("starting services"),
            NotifyState::ExtendTimeoutUsec(600_000_000),
        ]);
    }

    pub(super) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    pub(super) fn stopping(&self) {
        if let Some(status) = &self.status {
            status.abort();
        }
        tell(&[NotifyState::Stopping, NotifyState::Status("stopping every instance")]);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
    }
}

/// The watchdog is fed only while the store answers: a daemon that cannot remember is of no use.
async fn feed(daemon: Arc<Daemon>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        if daemon.store.events(u64::MAX, 0).await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

async fn keep_status(daemon: Arc<Daemon>) {
    let mut events = daemon.store.subscribe();
    let mut told = String::new();
    loop {
        let line = summary(&daemon);
        if line != told {
            tell(&[NotifyState::Status(&line)]);
            told = line;
        }
        if let Err(tokio::sync::broadcast::error::RecvError::Closed) = events.recv().await {
            return;
        }
    }
}

fn summary(daemon: &Daemon) -> String {
    let views: Vec<_> = daemon
        .engine
        .crews()
        .values()
        .flat_map(|crew| crew.instances.values())
        .map(crate::instance::Instance::view)
        .filter(|view| view.wanted)
        .collect();
    let ready = views.iter().filter(|view| view.phase == Phase::Ready).count();
    let mut line = format!("{ready} of {} instances ready", views.len());
    for view in views.iter().filter(|view| view.phase == Phase::Failed) {
        line.push_str(&format!("; {} failed", view.id));
    }
    for rollout in daemon.engine.crews().keys().filter_map(|name| daemon.engine.under_way(name)) {
        let step = rollout.steps.last().map_or("", |taken| taken.step.word());
        line.push_str(&format!("; {} of {}: {step}", rollout.kind.word(), rollout.service));
    }
    line
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::debug!("systemd cannot be told: {e}");
    }
}
