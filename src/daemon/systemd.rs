//! What systemd is told: READY, STATUS, STOPPING, and that the daemon lives (`sd_notify(3)`).
//! Without systemd, nothing.

mod desk;
pub(super) mod job;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

pub(super) use self::desk::Desk;
use self::desk::Going;
use super::{Daemon, DaemonError, Life, shutdown::Goal};
use crate::{instance::Phase, store::Store};

/// Between two signs of life while services start; well within what each asks for.
const BOOT_BEAT: Duration = Duration::from_secs(10);
/// Between two looks at the store.
const STORE_LOOK: Duration = Duration::from_secs(30);
/// Between two status lines.
const STATUS_PAUSE: Duration = Duration::from_millis(100);
/// How long systemd may take to hear the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The link to systemd.
pub(super) struct Link {
    desk: Arc<Desk>,
    /// Closed when everything was said; `None` when nobody listens.
    talking: Option<oneshot::Receiver<()>>,
    status: Option<AbortHandle>,
    tasks: JoinSet<()>,
}

impl Link {
    /// Begins to give signs of life and to keep the status line true, and tells what lies on `desk`.
    pub(super) fn begin(daemon: &Arc<Daemon>, life: Life, desk: Arc<Desk>) -> Self {
        let mut link = Self { desk, ..Self::silent() };
        // The watchdog that its predecessor fed goes on.
        link.desk.change(|news| news.watched = life == Life::Succeeding);
        if !listens() {
            return link;
        }
        match desk::talk(&link.desk) {
            Ok(talking) => link.talking = Some(talking),
            Err(e) => {
                tracing::error!("systemd will not be told of anything: {e}");
                return link;
            }
        }
        let watchdog = sd_notify::watchdog_enabled();
        link.tasks.spawn(beat(Arc::clone(&link.desk), watchdog));
        if watchdog.is_some() {
            link.tasks.spawn(look_at(daemon.store.clone()));
        }
        let status = keep_status(Arc::clone(daemon), Arc::clone(&link.desk));
        link.status = Some(link.tasks.spawn(status));
        link
    }

    /// One that tells nobody.
    pub(super) fn silent() -> Self {
        Self { desk: Arc::default(), talking: None, status: None, tasks: JoinSet::new() }
    }

    pub(super) fn ready(&self) {
        self.desk.change(|news| news.ready = true);
    }

    #[cfg(test)]
    pub(super) fn is_ready(&self) -> bool {
        self.desk.is_ready()
    }

    pub(super) fn stopping(&mut self, goal: Goal) {
        let line = match goal {
            Goal::StopAll => "stopping every instance",
            Goal::Leave => "the instances run on; waiting for the next aibkd",
        };
        self.last_status(line.to_owned());
        self.desk.change(|news| news.going = Some(Going::Stopping));
    }

    /// Another program takes this one's place.
    pub(super) fn reloading(&mut self) {
        self.last_status("making way for another aibkd; the instances run on".to_owned());
        self.desk.change(|news| news.going = Some(Going::Replaced));
    }

    pub(super) fn failed(&mut self, why: &DaemonError) {
        self.last_status(format!("cannot come up: {why}"));
    }

    fn last_status(&mut self, line: String) {
        if let Some(status) = self.status.take() {
            status.abort();
        }
        self.desk.change(|news| news.status = line);
    }

    /// Waits until systemd has heard everything, or does not listen.
    pub(super) async fn finish(mut self) {
        self.tasks.shutdown().await;
        self.desk.close();
        if let Some(talking) = self.talking.take()
            && timeout(LAST_WORDS, talking).await.is_err()
        {
            tracing::warn!("systemd did not hear the last words");
        }
    }
}

/// Whether anybody is told.
pub(super) fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Signs of life come from the runtime alone: one that turns no more stops them. A disk that stalls
/// does not, for a restart would not mend it.
async fn beat(desk: Arc<Desk>, watchdog: Option<Duration>) {
    loop {
        desk.change(|news| news.beats += 1);
        let pace = watchdog.map(|within| within / 3);
        let pause = match pace {
            Some(pace) if desk.is_ready() => pace,
            None if desk.is_ready() => return,
            pace => pace.map_or(BOOT_BEAT, |pace| pace.min(BOOT_BEAT)),
        };
        sleep(pause).await;
    }
}

/// Tells when the store does not answer within its own deadline.
async fn look_at(store: Store) {
    loop {
        sleep(STORE_LOOK).await;
        if let Err(e) = store.events(u64::MAX, 0).await {
            tracing::error!("the store does not answer: {e}");
        }
    }
}

async fn keep_status(daemon: Arc<Daemon>, desk: Arc<Desk>) {
    loop {
        let mut events = daemon.store.subscribe();
        let line = summary(&daemon);
        desk.change(|news| news.status = line);
        if let Err(tokio::sync::broadcast::error::RecvError::Closed) = events.recv().await {
            return;
        }
        // Of many services, many things happen at once.
        sleep(STATUS_PAUSE).await;
    }
}

fn summary(daemon: &Daemon) -> String {
    let views: Vec<_> = daemon
        .engine
        .crews()
        .values()
        .flat_map(|crew| crew.instances.values())
        .map(crate::instance::Instance::view)
        .filter(|view| {
            view.wanted && matches!(view.rest, None | Some(crate::instance::Rest::Failed))
        })
        .collect();
    let ready = views.iter().filter(|view| view.phase == Phase::Ready).count();
    let mut line = format!("{ready} of {} instances ready", views.len());
    for view in views.iter().filter(|view| view.phase == Phase::Failed) {
        let _ = write!(line, "; {} failed", view.id);
    }
    for rollout in daemon.engine.crews().keys().filter_map(|name| daemon.engine.under_way(name)) {
        let step = rollout.steps.last().map_or("", |taken| taken.step.word());
        let _ = write!(line, "; {} of {}: {step}", rollout.kind.word(), rollout.service);
    }
    line
}
