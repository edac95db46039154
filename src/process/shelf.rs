//! Descriptors that outlive the daemon: handed in by whoever keeps them, and handed out.
//!
//! A listening socket keeps connections waiting while nobody accepts; the pidfd of a process tells
//! how it ended although nobody looked (`PIDFD_INFO_EXIT`, Linux 6.15).

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Identity, Listener, Tree};
use crate::{
    ident::{InstanceId, Side},
    sys::listener,
};

/// Who keeps descriptors until the next daemon asks for them. Neither call waits for it.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// Keeps `what` under `name`, in place of what was there.
    fn keep(&self, name: &str, what: OwnedFd);
    /// Keeps nothing under `name` any more.
    fn forget(&self, name: &str);
}

/// What an earlier daemon left, and where this one leaves its own. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shelf(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    found: Mutex<BTreeMap<String, OwnedFd>>,
    /// The sockets that lie here now.
    listeners: Mutex<BTreeMap<String, Listener>>,
    /// FIFOs without a name that an earlier daemon's processes still write to, by the name they had.
    fifos: Mutex<BTreeMap<PathBuf, OwnedFd>>,
    keeper: Option<Arc<dyn Keeper>>,
}

impl Shelf {
    /// One on which `found` lies, and whose every change goes to `keeper`.
    #[must_use]
    pub fn new(found: BTreeMap<String, OwnedFd>, keeper: Option<Arc<dyn Keeper>>) -> Self {
        let (found, listeners, fifos) = (Mutex::new(found), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { found, listeners, fifos, keeper }))
    }

    pub(super) fn put_fifo(&self, path: &Path, fifo: OwnedFd) {
        locked(&self.0.fifos).insert(path.to_owned(), fifo);
    }

    /// Given once.
    pub(super) fn take_fifo(&self, path: &Path) -> Option<OwnedFd> {
        locked(&self.0.fifos).remove(path)
    }

    /// Forgets what an earlier daemon left and nobody has taken.
    pub fn clear(&self) {
        locked(&self.0.fifos).clear();
        for name in std::mem::take(&mut *locked(&self.0.found)).into_keys() {
            tracing::info!(name, "nobody needs what an earlier daemon kept");
            self.forget(&name);
        }
    }

    /// Closes the listening sockets that an earlier daemon left and nobody has taken: they would be in
    /// the way of whoever listens for itself now.
    pub fn clear_listeners(&self) {
        let mut found = locked(&self.0.found);
        let (listeners, rest) =
            std::mem::take(&mut *found).into_iter().partition(|(name, _)| is_listener(name));
        *found = rest;
        drop(found);
        let listeners: BTreeMap<String, OwnedFd> = listeners;
        for (name, socket) in listeners {
            tracing::info!(name, "nobody needs the socket that an earlier daemon held");
            // Whoever keeps it has it for a moment longer.
            if let Err(error) = listener::hush(socket.as_fd()) {
                tracing::warn!(name, %error, "cannot stop to listen");
            }
            self.forget(&name);
        }
    }

    /// Every listening socket that lies here, for a successor.
    pub fn listeners(&self) -> impl Iterator<Item = (String, Listener)> {
        locked(&self.0.listeners).clone().into_iter()
    }

    /// The socket of `side` that an earlier daemon left; given once.
    pub(super) fn take_listener(&self, of: &InstanceId, side: Side) -> Option<OwnedFd> {
        locked(&self.0.found).remove(&listener_name(of, side))
    }

    pub(super) fn put_listener(&self, of: &InstanceId, side: Side, socket: &Listener) {
        let name = listener_name(of, side);
        self.keep(&name, || socket.descriptor());
        self.hold_listener(of, side, socket);
    }

    /// It is kept already.
    pub(super) fn hold_listener(&self, of: &InstanceId, side: Side, socket: &Listener) {
        locked(&self.0.listeners).insert(listener_name(of, side), socket.clone());
    }

    pub(super) fn remove_listener(&self, of: &InstanceId, side: Side) {
        let name = listener_name(of, side);
        locked(&self.0.listeners).remove(&name);
        self.forget(&name);
    }

    /// The pidfd of `who` that an earlier daemon left; given once.
    #[must_use]
    pub fn take_process(&self, of: &InstanceId, who: &Identity) -> Option<OwnedFd> {
        locked(&self.0.found).remove(&process_name(of, who))
    }

    /// Keeps how `tree` will end.
    pub fn put_process(&self, of: &InstanceId, tree: &Tree) {
        self.keep(&process_name(of, tree.identity()), || tree.descriptor());
    }

    /// How `tree` ended is known.
    pub fn remove_process(&self, of: &InstanceId, tree: &Tree) {
        self.forget(&process_name(of, tree.identity()));
    }

    fn keep<E: fmt::Display>(&self, name: &str, what: impl FnOnce() -> Result<OwnedFd, E>) {
        let Some(keeper) = &self.0.keeper else { return };
        match what() {
            Ok(what) => keeper.keep(name, what),
            Err(error) => tracing::warn!(name, %error, "a descriptor is not kept"),
        }
    }

    fn forget(&self, name: &str) {
        if let Some(keeper) = &self.0.keeper {
            keeper.forget(name);
        }
    }
}

fn is_listener(name: &str) -> bool {
    name.starts_with("listener-")
}

fn listener_name(of: &InstanceId, side: Side) -> String {
    format!("listener-{of}.{side}")
}

/// A pid is reused; with its start time, and within a boot, it is not.
fn process_name(of: &InstanceId, who: &Identity) -> String {
    format!("process-{of}.{}.{}", who.pid, who.start_ticks)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change of it is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
