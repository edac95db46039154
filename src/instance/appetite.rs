//! Whether a tree keeps to its memory limit, where the kernel does not see to that.

use tokio::time::{Instant, sleep_until};

use crate::{
    process::Tree,
    sys::confine::{Confinement, MemoryLimit},
};

/// Looks at the memory of one tree from time to time.
#[derive(Debug, Default)]
pub(super) struct Appetite {
    limit: Option<MemoryLimit>,
    due: Option<Instant>,
}

impl Appetite {
    /// Of `tree`, which has just been started or taken over.
    pub(super) fn of(tree: &Tree, asked: &Confinement) -> Self {
        let limit = asked.limits.memory.filter(|_| !tree.has_memory_limit());
        Self { limit, due: limit.map(|limit| Instant::now() + limit.sample) }
    }

    /// Whether there is a limit to see to.
    pub(super) const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Waits until `tree` is above its limit; returns the bytes that it uses, and those it may.
    /// Cancel safe: it is due when it was.
    pub(super) async fn outgrown(&mut self, tree: Option<&Tree>) -> (u64, u64) {
        let (Some(tree), Some(limit)) = (tree, self.limit) else {
            return std::future::pending().await;
        };
        loop {
            let due = *self.due.get_or_insert_with(|| Instant::now() + limit.sample);
            sleep_until(due).await;
            self.due = Some(Instant::now() + limit.sample);
            if let Some(used) = tree.memory_above(limit.bytes) {
                return (used, limit.bytes);
            }
        }
    }
}
