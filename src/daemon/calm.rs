//! What work has taken of the memory is given back once nothing goes on.

use std::time::Duration;

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};

use crate::{store::Event, sys::memory};

/// After so long without an event nothing of what began goes on, unless it is slow.
const CALM: Duration = Duration::from_secs(5);

/// Gives memory back after each time in which `events` came. Wakes nobody while none comes.
pub(super) async fn give_back_when_calm(mut events: Receiver<Event>) {
    loop {
        while let Ok(told) = timeout(CALM, events.recv()).await {
            if matches!(told, Err(RecvError::Closed)) {
                return;
            }
        }
        memory::give_back();
        if matches!(events.recv().await, Err(RecvError::Closed)) {
            return;
        }
    }
}
