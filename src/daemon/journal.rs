//! Every event also goes into the daemon's log: the journal under systemd, else standard error.

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::store::{Event, Store};

/// The task that logs.
#[derive(Debug)]
pub(super) struct Journal {
    task: JoinHandle<()>,
    closing: CancellationToken,
}

impl Journal {
    /// Begins to log what happens from now on.
    pub(super) fn begin(store: &Store) -> Self {
        let closing = CancellationToken::new();
        let task = tokio::spawn(keep(store.subscribe(), closing.clone()));
        Self { task, closing }
    }

    /// Logs what has happened so far, and ends.
    pub(super) async fn finish(self, store: &Store) {
        // Its answer comes after every event that was recorded before.
        let _ = store.events(u64::MAX, 0).await;
        self.closing.cancel();
        let _ = self.task.await;
    }
}

/// Logs `events` until `closing`, and then those that are there. In the journal the fields are called
/// `AIBK_SERVICE`, `AIBK_INSTANCE`, `AIBK_GENERATION`, `AIBK_ROLLOUT` and `AIBK_EVENT`.
async fn keep(mut events: Receiver<Event>, closing: CancellationToken) {
    loop {
        let next = tokio::select! {
            biased;
            next = events.recv() => next,
            () = closing.cancelled() => return,
        };
        match next {
            Ok(event) => log(&event),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    "{missed} events came too fast to be logged; `aibkctl events` has them"
                );
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn log(event: &Event) {
    let Event { service, instance, generation, rollout, kind, message, .. } = event;
    tracing::info!(
        service = service.as_deref(),
        instance = instance.as_deref(),
        generation,
        rollout,
        event = kind,
        "{message}"
    );
}
