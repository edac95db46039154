//! The only durable state: one SQLite database, on a thread of its own.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::ident::{Generation, InstanceId, ReleaseId, RolloutId, ServiceName};

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// placeholder until the room is built
    #[error("{0}")]
    Other(String),
    /// `S2`.
    #[error("rollout {0} of the service is under way")]
    Busy(RolloutId),
}

/// What a slot is meant to hold, and what was last seen in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRow {
    /// Which slot.
    pub instance: InstanceId,
    /// Whether an instance is meant to run here.
    pub wanted: bool,
    /// Release it is of.
    pub release: ReleaseId,
    /// Directory of the release.
    pub directory: String,
    /// The rollout that started it last.
    pub rollout: Option<RolloutId>,
    /// Its last start.
    pub generation: Generation,
    /// `process::Identity` as JSON, of the last start.
    pub identity: Option<String>,
}

/// A rollout as it is kept. `document` is the rollout room's own, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRow {
    /// Its id.
    pub id: RolloutId,
    /// Whose.
    pub service: ServiceName,
    /// The rollout room's document.
    pub document: String,
    /// It has ended.
    pub ended: bool,
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    /// Grows by one with each event; 0 until stored.
    pub id: u64,
    /// Microseconds since the epoch; 0 until stored.
    pub at: i64,
    /// Dotted name: `instance.ready`, `rollout.step`, `nginx.published`.
    pub kind: String,
    /// Service, instance, generation and rollout it is about, as far as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Generation of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u64>,
    /// A sentence for people.
    pub message: String,
}

/// The store. Cheap to clone; every call runs on the store's thread, in order.
#[derive(Debug, Clone)]
pub struct Store {}

impl Store {
    /// Opens `dir/aibk.db`, locks it against a second daemon, and brings it up to date.
    ///
    /// # Errors
    /// A second daemon (named by pid), a newer version, damage: nothing is changed then (`S4`).
    pub fn open(_dir: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// Every slot ever written.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn slots(&self) -> Result<Vec<SlotRow>, StoreError> {
        todo!()
    }

    /// Writes one slot; durable when it returns.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn put_slot(&self, _row: SlotRow) -> Result<(), StoreError> {
        todo!()
    }

    /// A generation that was never given out, by any daemon. Taken from a durable reservation
    /// made ahead, so that it waits for no disk.
    ///
    /// # Errors
    /// When a new reservation could not be written.
    pub async fn next_generation(&self) -> Result<Generation, StoreError> {
        todo!()
    }

    /// A new rollout; its id is given to `document` to write itself.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another of the same service has not ended (`S2`).
    pub async fn begin_rollout(
        &self,
        _service: ServiceName,
        _document: Box<dyn FnOnce(RolloutId) -> String + Send>,
    ) -> Result<RolloutRow, StoreError> {
        todo!()
    }

    /// Writes a rollout's document; durable when it returns.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn put_rollout(&self, _row: RolloutRow) -> Result<(), StoreError> {
        todo!()
    }

    /// One rollout.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollout(&self, _id: RolloutId) -> Result<Option<RolloutRow>, StoreError> {
        todo!()
    }

    /// The last `n` rollouts (newest first), and every one that has not ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rollouts(&self, _n: usize) -> Result<Vec<RolloutRow>, StoreError> {
        todo!()
    }

    /// Keeps `event` and tells every subscriber; never waits. Its id and time are filled in.
    pub fn record(&self, _event: Event) {
        todo!()
    }

    /// The newest `n` events with an id above `after`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events(&self, _after: u64, _n: usize) -> Result<Vec<Event>, StoreError> {
        todo!()
    }

    /// Every event from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        todo!()
    }
}
