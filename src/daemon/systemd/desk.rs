//! The news for systemd, and the thread that tells it.
//!
//! `sd_notify(3)` blocks while its reader is busy, and nothing may hold the daemon up. So what is to
//! be known lies on a desk, always the newest, and the thread tells what has changed since it
//! looked last: nothing that matters is ever dropped, and no news queue. Descriptors for the store
//! (`FDSTORE=1`) do, each being told of once.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use sd_notify::NotifyState;
use tokio::sync::oneshot;

use crate::process::Keeper;

/// How much more time for its start each sign of life asks for, in microseconds.
const MORE_TIME: u32 = 60_000_000;

/// What systemd is to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The status line.
    pub(super) status: String,
    /// Everything is up, or was reported as failed.
    pub(super) ready: bool,
    /// Why it goes, once it does.
    pub(super) going: Option<Going>,
    /// It is the program that did, so that systemd waits for signs of life already.
    pub(super) watched: bool,
    /// Signs of life so far.
    pub(super) beats: u64,
}

/// Why a daemon goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Going {
    /// It ends.
    Stopping,
    /// Another program takes its place.
    Replaced,
}

/// Where the news lie.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Desk {
    lies: Mutex<Lies>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lies {
    news: News,
    state: State,
    stores: VecDeque<Stores>,
}

/// A change of what the store of descriptors has, by name.
#[derive(Debug)]
enum Stores {
    This(String, OwnedFd),
    Nothing(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// Nothing more will come.
    Closed,
}

impl Desk {
    /// Changes what systemd is to know.
    pub(super) fn change(&self, how: impl FnOnce(&mut News)) {
        how(&mut self.lock().news);
        self.changed.notify_one();
    }

    pub(super) fn is_ready(&self) -> bool {
        self.lock().news.ready
    }

    /// Ends the thread once it has told everything.
    pub(super) fn close(&self) {
        self.lock().state = State::Closed;
        self.changed.notify_one();
    }

    /// What is to be known once it differs from `seen`, and what is to be stored; `None` when that
    /// is all.
    fn newer_than(&self, seen: &News) -> Option<(News, VecDeque<Stores>)> {
        let same = |lies: &mut Lies| {
            lies.news == *seen && lies.stores.is_empty() && lies.state == State::Open
        };
        let held = self.changed.wait_while(self.lock(), same);
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        let stores = std::mem::take(&mut held.stores);
        (held.news != *seen || !stores.is_empty()).then(|| (held.news.clone(), stores))
    }

    fn store(&self, what: Stores) {
        self.lock().stores.push_back(what);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Lies> {
        // It is only ever assigned to, so that it is whole whatever happened.
        self.lies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// systemd's own store: `FileDescriptorStoreMax=` of systemd.service(5).
impl Keeper for Desk {
    fn keep(&self, name: &str, what: OwnedFd) {
        self.store(Stores::This(name.to_owned(), what));
    }

    fn forget(&self, name: &str) {
        self.store(Stores::Nothing(name.to_owned()));
    }
}

/// Starts the thread that tells what lies on `desk`; the answer is closed when it has ended.
pub(super) fn talk(desk: &Arc<Desk>) -> io::Result<oneshot::Receiver<()>> {
    let (talking, ended) = oneshot::channel::<()>();
    let desk = Arc::clone(desk);
    let tell = move || {
        let (mut told, mut seen) = (News::default(), News::default());
        while let Some((news, stores)) = desk.newer_than(&seen) {
            for what in &stores {
                if let Err(e) = what.tell() {
                    tracing::warn!("systemd cannot be told what it is to store: {e}");
                }
            }
            let words = words(&told, &news);
            match if words.is_empty() { Ok(()) } else { sd_notify::notify(&words) } {
                Ok(()) => told = news.clone(),
                // It is told again with the next change.
                Err(e) => tracing::debug!("systemd cannot be told: {e}"),
            }
            seen = news;
        }
        drop(talking);
    };
    let thread = std::thread::Builder::new().name("aibk-systemd".to_owned());
    thread.stack_size(64 * 1024).spawn(tell).map(|_| ended)
}

impl Stores {
    /// `sd_notify(3)`. A name is given once, so what it had before goes first. systemd is not to look
    /// at what it stores (`FDPOLL=0`): it would drop a socket or a process that has ended.
    fn tell(&self) -> io::Result<()> {
        let (Self::This(name, _) | Self::Nothing(name)) = self;
        sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)])?;
        let Self::This(name, fd) = self else { return Ok(()) };
        let words =
            [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
        sd_notify::notify_with_fds(&words, &[fd.as_fd()])
    }
}

/// What to say to somebody who knows `told`.
fn words<'a>(told: &News, news: &'a News) -> Vec<NotifyState<'a>> {
    let mut words = vec![];
    if told.status != news.status {
        words.push(NotifyState::Status(&news.status));
    }
    if told.ready != news.ready {
        words.push(NotifyState::Ready);
    }
    match news.going.filter(|_| told.going != news.going) {
        Some(Going::Stopping) => words.push(NotifyState::Stopping),
        Some(Going::Replaced) => {
            words.push(NotifyState::Reloading);
            // Since systemd 253 this belongs to it.
            words.extend(NotifyState::monotonic_usec_now());
        }
        None => {}
    }
    if told.beats != news.beats {
        if news.watched && !news.ready {
            words.push(NotifyState::Watchdog);
        }
        words.push(match (news.ready, news.going.is_some()) {
            (false, false) => NotifyState::ExtendTimeoutUsec(MORE_TIME),
            _ => NotifyState::Watchdog,
        });
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(told: &News, news: &News) -> Vec<String> {
        words(told, news).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_changed_is_said_and_nothing_that_matters_is_missed() {
        let begun = News { status: "0 of 2".into(), beats: 1, ..News::default() };
        assert_eq!(
            said(&News::default(), &begun),
            ["STATUS=0 of 2", "EXTEND_TIMEOUT_USEC=60000000"]
        );
        let up = News { ready: true, beats: 2, ..begun.clone() };
        assert_eq!(said(&begun, &up), ["READY=1", "WATCHDOG=1"]);
        assert_eq!(said(&up, &up), [""; 0]);
        // However much happens while systemd does not listen.
        let end = News {
            status: "stopping".into(),
            ready: true,
            going: Some(Going::Stopping),
            beats: 99,
            ..News::default()
        };
        assert_eq!(said(&begun, &end), ["STATUS=stopping", "READY=1", "STOPPING=1", "WATCHDOG=1"]);
    }

    #[test]
    fn the_newest_is_taken_and_a_closed_desk_ends() {
        let desk = Desk::default();
        for n in 0..1000 {
            desk.change(|news| news.status = n.to_string());
        }
        desk.change(|news| news.ready = true);
        let (seen, _) = desk.newer_than(&News::default()).unwrap();
        assert_eq!((seen.status.as_str(), seen.ready), ("999", true));
        desk.change(|news| news.going = Some(Going::Stopping));
        desk.close();
        let (last, _) = desk.newer_than(&seen).unwrap();
        assert!(last.going.is_some(), "what was left is taken before the end");
        assert!(desk.newer_than(&last).is_none());
    }
}
