//! Why an order to an instance was not taken.

use std::time::Duration;

use super::Phase;
use crate::{ident::InstanceId, process::ProcessError, store::StoreError};

/// An order that could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Its intent could not be made durable, or nobody can tell; nothing was started or stopped.
    #[error("{} what is meant to happen to {id}; nothing was started or stopped: {source}", unwritten(.source))]
    Store {
        /// Which instance.
        id: InstanceId,
        /// What the store said.
        source: StoreError,
    },
    /// Its output cannot be captured.
    #[error("cannot capture the output of {id}: {source}")]
    Capture {
        /// Which instance.
        id: InstanceId,
        /// What the process room said.
        source: ProcessError,
    },
    /// Its new connections cannot be directed.
    #[error("cannot direct the connections to {id}: {source}")]
    Socket {
        /// Which instance.
        id: InstanceId,
        /// What the process room said.
        source: ProcessError,
    },
    /// It listens for itself, so that nothing can be started beside it.
    #[error("{0} has its own socket, so nothing can stand beside it; write `socket: held`")]
    OneSided(InstanceId),
    /// The task that drives it is gone, because the daemon is ending.
    #[error("{0} takes no more orders: the daemon is ending")]
    Ending(InstanceId),
    /// Its main process could not be sent a signal.
    #[error("{id} cannot be sent a signal: {why}")]
    NotSent {
        /// Which instance.
        id: InstanceId,
        /// Why.
        why: String,
    },
    /// It did not get there in time.
    #[error("{id} is still {} after {within:?}", .phase.word())]
    TooSlow {
        /// Which instance.
        id: InstanceId,
        /// What it is instead.
        phase: Phase,
        /// How long it was waited for.
        within: Duration,
    },
}

const fn unwritten(error: &StoreError) -> &'static str {
    match error {
        StoreError::Stalled { .. } => "it is not certain that the state has",
        _ => "cannot write down",
    }
}
