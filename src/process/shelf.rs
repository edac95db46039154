//! Listening sockets that outlive the daemon: handed in by whoever keeps them, and handed out.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc;

use super::Listener;

/// A change of what is to be kept.
#[derive(Debug)]
pub enum Kept {
    /// This socket, under this name.
    Put(String, OwnedFd),
    /// Nothing under this name any more.
    Removed(String),
}

/// What an earlier daemon left, and where this one leaves its own. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    found: Arc<Mutex<BTreeMap<String, OwnedFd>>>,
    keeper: Option<mpsc::UnboundedSender<Kept>>,
}

impl Shelf {
    /// One on which `found` lies, and whose every change goes to `keeper`.
    #[must_use]
    pub fn new(found: BTreeMap<String, OwnedFd>, keeper: mpsc::UnboundedSender<Kept>) -> Self {
        Self { found: Arc::new(Mutex::new(found)), keeper: Some(keeper) }
    }

    #[cfg(test)]
    pub(super) fn holding(name: String, socket: OwnedFd) -> Self {
        let found = Arc::new(Mutex::new(BTreeMap::from([(name, socket)])));
        Self { found, keeper: None }
    }

    /// What an earlier daemon left under `name`; given once.
    pub(super) fn take(&self, name: &str) -> Option<OwnedFd> {
        // It is only ever taken from.
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    pub(super) fn put(&self, name: &str, socket: &Listener) {
        let Some(keeper) = &self.keeper else { return };
        match socket.descriptor() {
            // Whoever kept it is gone only together with the daemon.
            Ok(socket) => drop(keeper.send(Kept::Put(name.to_owned(), socket))),
            Err(error) => tracing::warn!(name, %error, "a listening socket is not kept"),
        }
    }

    pub(super) fn remove(&self, name: &str) {
        if let Some(keeper) = &self.keeper {
            let _ = keeper.send(Kept::Removed(name.to_owned()));
        }
    }
}
