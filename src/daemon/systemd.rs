//! What systemd is told: READY, STATUS, WATCHDOG, STOPPING (`sd_notify(3)`). Without systemd, nothing.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::task::{AbortHandle, JoinSet};

use super::Daemon;
use crate::instance::Phase;

/// How long systemd is told to wait for a boot: a slow one is no hung one.
const BOOT_PATIENCE: u32 = 600_000_000;
/// What may wait to be told; what does not fit is dropped.
const QUEUE: usize = 16;

/// What can be told.
enum Word {
    Starting,
    Ready,
    Status(String),
    Watchdog,
    Stopping,
}

/// The link to systemd. A thread of its own does the talking, for `sd_notify(3)` blocks while its
/// reader is busy, and nothing may hold the daemon up.
pub(super) struct Link {
    words: SyncSender<Word>,
    status: Option<AbortHandle>,
    tasks: JoinSet<()>,
}

impl Link {
    /// Begins to keep the watchdog quiet and the status line true.
    pub(super) fn begin(daemon: &Arc<Daemon>) -> Self {
        let (words, said) = sync_channel(QUEUE);
        let mut link = Self { words, status: None, tasks: JoinSet::new() };
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return link;
        }
        let talking = std::thread::Builder::new()
            .name("aibk-systemd".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || said.iter().for_each(|word| say(&word)));
        if let Err(e) = talking {
            tracing::error!("systemd will not be told of anything: {e}");
            return link;
        }
        link.tell(Word::Starting);
        if let Some(within) = sd_notify::watchdog_enabled() {
            let watchdog = feed(Arc::clone(daemon), link.words.clone(), within / 3);
            link.tasks.spawn(watchdog);
        }
        let status = keep_status(Arc::clone(daemon), link.words.clone());
        link.status = Some(link.tasks.spawn(status));
        link
    }

    pub(super) fn ready(&self) {
        self.tell(Word::Ready);
    }

    pub(super) fn stopping(&mut self) {
        if let Some(status) = self.status.take() {
            status.abort();
        }
        self.tell(Word::Stopping);
    }

    fn tell(&self, word: Word) {
        // Full: systemd does not listen. Closed: there is none.
        let _ = self.words.try_send(word);
    }
}

/// The watchdog is fed only while the store answers: a daemon that cannot remember is of no use.
async fn feed(daemon: Arc<Daemon>, words: SyncSender<Word>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        if daemon.store.events(u64::MAX, 0).await.is_ok() {
            let _ = words.try_send(Word::Watchdog);
        }
    }
}

async fn keep_status(daemon: Arc<Daemon>, words: SyncSender<Word>) {
    let mut events = daemon.store.subscribe();
    let mut told = String::new();
    loop {
        let line = summary(&daemon);
        if line != told && words.try_send(Word::Status(line.clone())).is_ok() {
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
        let _ = write!(line, "; {} failed", view.id);
    }
    for rollout in daemon.engine.crews().keys().filter_map(|name| daemon.engine.under_way(name)) {
        let step = rollout.steps.last().map_or("", |taken| taken.step.word());
        let _ = write!(line, "; {} of {}: {step}", rollout.kind.word(), rollout.service);
    }
    line
}

fn say(word: &Word) {
    let said = match word {
        Word::Starting => sd_notify::notify(&[
            NotifyState::Status("starting services"),
            NotifyState::ExtendTimeoutUsec(BOOT_PATIENCE),
        ]),
        Word::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Word::Status(line) => sd_notify::notify(&[NotifyState::Status(line)]),
        Word::Watchdog => sd_notify::notify(&[NotifyState::Watchdog]),
        Word::Stopping => sd_notify::notify(&[
            NotifyState::Stopping,
            NotifyState::Status("stopping every instance"),
        ]),
    };
    if let Err(e) = said {
        tracing::debug!("systemd cannot be told: {e}");
    }
}
