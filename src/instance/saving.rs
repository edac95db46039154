//! A row that the store would not take is offered again until it does.
//!
//! A daemon that dies without the row of a living tree leaves its successor no way to know that
//! tree: it would be ended as a leftover.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::store::{SlotRow, Store, StoreError};

/// Between two attempts: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

type Writing = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// What is held for true of a slot and may not be durable yet.
#[derive(Default)]
pub(super) struct Saving {
    owed: Option<Box<Owed>>,
}

struct Owed {
    row: Arc<SlotRow>,
    due: Instant,
    pause: Duration,
    told: Told,
    writing: Option<Writing>,
}

/// Whether the operator knows that it is not durable.
#[derive(PartialEq)]
enum Told {
    No,
    Yes,
}

impl Saving {
    /// `row` must become durable; the first attempt is due at once.
    pub(super) fn owe(&mut self, row: Arc<SlotRow>) {
        let (due, pause, writing) = (Instant::now(), PAUSE.0, None);
        let told = self.owed.take().map_or(Told::No, |before| before.told);
        self.owed = Some(Box::new(Owed { row, due, pause, told, writing }));
    }

    /// What is durable now is what is held for true.
    pub(super) fn settle(&mut self) {
        if let Some(owed) = self.owed.take().filter(|owed| owed.told == Told::Yes) {
            tracing::info!(instance = %owed.row.instance, "its state is written down again");
        }
    }

    /// Whether there is something that may not be durable.
    pub(super) const fn owes(&self) -> bool {
        self.owed.is_some()
    }

    /// One attempt, when it is due; never done while nothing is owed. Cancel safe: what was begun
    /// goes on.
    pub(super) async fn attempt(&mut self, store: &Store) {
        let Some(owed) = &mut self.owed else { return std::future::pending().await };
        let writing = match &mut owed.writing {
            Some(writing) => writing,
            none => {
                sleep_until(owed.due).await;
                none.insert(write(store.clone(), SlotRow::clone(&owed.row)))
            }
        };
        let Err(e) = writing.await else { return self.settle() };
        owed.writing = None;
        owed.due = Instant::now() + owed.pause;
        owed.pause = (owed.pause * 2).min(PAUSE.1);
        if owed.told == Told::No {
            owed.told = Told::Yes;
            tracing::error!(
                instance = %owed.row.instance,
                "its state is not written down, and a daemon that begins now would not know what \
                 runs; it is tried again: {e}"
            );
        }
    }
}

fn write(store: Store, row: SlotRow) -> Writing {
    Box::pin(async move { store.put_slot(row).await })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ident::{Generation, ReleaseId},
        instance::kit::{Disk, within},
    };

    fn row() -> SlotRow {
        SlotRow {
            instance: "api@8000".parse().unwrap(),
            wanted: true,
            release: ReleaseId("r1".to_owned()),
            directory: "/srv/r1".to_owned(),
            rollout: None,
            generation: Generation(1),
            identity: None,
            rest: None,
        }
    }

    #[tokio::test]
    async fn what_the_store_refused_is_written_later() {
        let disk = Disk::new();
        let mut saving = Saving::default();
        disk.refuse();
        saving.owe(Arc::new(row()));
        within(saving.attempt(&disk.store)).await;
        assert!(saving.owed.as_ref().is_some_and(|owed| owed.told == Told::Yes));
        assert!(disk.store.slots().await.unwrap().is_empty());
        disk.take_again();
        within(saving.attempt(&disk.store)).await;
        assert!(saving.owed.is_none());
        assert_eq!(disk.store.slots().await.unwrap(), [row()]);
    }
}
