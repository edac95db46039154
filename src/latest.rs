//! A value of which everybody sees the latest, and is told of changes: as tokio's `watch`, which keeps
//! eight queues for whoever waits. Of these there are two for each instance.

use std::{
    ops::Deref,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::Notify;

/// A place for a value, and the two ends of it.
pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let held = RwLock::new(Held { value, version: 0, senders: 1 });
    let place = Arc::new(Place { held, stirred: Notify::new() });
    (Sender(Arc::clone(&place)), Receiver { place, seen: 0 })
}

/// Nobody tells of changes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Tells. Clones tell in the same place.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Place<T>>);

/// Sees. A clone has seen what this one has.
#[derive(Debug)]
pub struct Receiver<T> {
    place: Arc<Place<T>>,
    seen: u64,
}

/// The value, which stays as it is meanwhile: it must not be kept for long.
#[derive(Debug)]
pub struct Ref<'p, T>(RwLockReadGuard<'p, Held<T>>);

#[derive(Debug)]
struct Place<T> {
    held: RwLock<Held<T>>,
    stirred: Notify,
}

#[derive(Debug)]
struct Held<T> {
    value: T,
    version: u64,
    senders: usize,
}

impl<T> Place<T> {
    async fn changed(&self, seen: &mut u64) -> Result<(), Closed> {
        loop {
            // It hears what happens from here on, so nothing falls between the look and the wait.
            let stirred = self.stirred.notified();
            {
                let held = self.read();
                if held.version != *seen {
                    *seen = held.version;
                    return Ok(());
                }
                if held.senders == 0 {
                    return Err(Closed);
                }
            }
            stirred.await;
        }
    }

    // Nothing that is done under the lock leaves it half done.
    fn read(&self) -> RwLockReadGuard<'_, Held<T>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held<T>> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Sender<T> {
    /// From now on the value is `value`.
    pub(crate) fn send(&self, value: T) {
        let before = {
            let mut held = self.0.write();
            held.version += 1;
            std::mem::replace(&mut held.value, value)
        };
        self.0.stirred.notify_waiters();
        // Not under the lock: it may hold an end of another place.
        drop(before);
    }

    /// What it is.
    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    /// Another one who sees it, and has seen what it is.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.read().version;
        Receiver { place: Arc::clone(&self.0), seen }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.write().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let left = {
            let mut held = self.0.write();
            held.senders -= 1;
            held.senders
        };
        if left == 0 {
            self.0.stirred.notify_waiters();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { place: Arc::clone(&self.place), seen: self.seen }
    }
}

impl<T> Receiver<T> {
    /// What it is; that it was seen is not remembered.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.place.read())
    }

    /// What it is, which is no news any more.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let held = self.place.read();
        self.seen = held.version;
        Ref(held)
    }

    /// Waits until it is another than was seen; then that is seen. Cancel safe.
    ///
    /// # Errors
    /// [`Closed`] when it stays as it was seen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        self.place.changed(&mut self.seen).await
    }

    /// Waits until `is` holds of it. Cancel safe.
    ///
    /// # Errors
    /// [`Closed`] when it never will.
    pub async fn wait_for(&mut self, mut is: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, Closed> {
        loop {
            {
                let held = self.place.read();
                self.seen = held.version;
                if is(&held.value) {
                    return Ok(Ref(held));
                }
            }
            self.place.changed(&mut self.seen).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_once_and_only_the_latest_of_several() {
        let (sender, mut receiver) = channel(0);
        assert_eq!(receiver.changed().now_or_never(), None);
        sender.send(1);
        sender.send(2);
        let mut other = receiver.clone();
        assert_eq!(receiver.changed().now_or_never(), Some(Ok(())));
        assert_eq!(*receiver.borrow(), 2);
        assert_eq!(receiver.changed().now_or_never(), None);
        assert_eq!(*other.borrow_and_update(), 2);
        assert_eq!(other.changed().now_or_never(), None);
        assert_eq!(sender.subscribe().changed().now_or_never(), None);
    }

    #[tokio::test]
    async fn everybody_who_waits_is_woken() {
        let (sender, receiver) = channel(0);
        let wait = |mut receiver: Receiver<i32>, wanted| {
            tokio::spawn(
                async move { receiver.wait_for(|value| *value == wanted).await.map(|v| *v) },
            )
        };
        let waiting = [wait(receiver.clone(), 1), wait(receiver.clone(), 1)];
        let in_vain = wait(receiver, 7);
        tokio::task::yield_now().await;
        let second = sender.clone();
        sender.send(1);
        drop(sender);
        for one in waiting {
            assert_eq!(within(one).await, Ok(1));
        }
        second.send(2);
        drop(second);
        assert_eq!(within(in_vain).await, Err(Closed));
    }

    #[tokio::test]
    async fn the_last_word_is_heard_although_nobody_is_left() {
        let (sender, mut receiver) = channel("first");
        sender.send("last");
        drop(sender);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(*receiver.borrow(), "last");
        assert_eq!(receiver.changed().await, Err(Closed));
        assert_eq!(receiver.wait_for(|word| *word == "last").await.map(|word| *word), Ok("last"));
    }

    async fn within<T>(task: tokio::task::JoinHandle<T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap()
    }
}
