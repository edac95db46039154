//! A channel for few messages, of which there are many: while nothing is in it, it takes a tenth of
//! what tokio's takes, which keeps room for 32 of them and two cache lines for each end.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

/// A new one. What is sent waits until it is taken, however much it is.
pub(crate) fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    let place = Arc::new(Place { letters: Mutex::default() });
    (Sender(Arc::new(Post(Arc::clone(&place)))), Receiver(place))
}

/// Sends. Clones send to the same one.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Post<T>>);

/// A sender that nobody waits for.
#[derive(Debug)]
pub(crate) struct WeakSender<T>(Weak<Post<T>>);

/// Takes what was sent.
#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Place<T>>);

/// All senders together.
#[derive(Debug)]
struct Post<T>(Arc<Place<T>>);

#[derive(Debug)]
struct Place<T> {
    letters: Mutex<Letters<T>>,
}

#[derive(Debug)]
struct Letters<T> {
    waiting: VecDeque<T>,
    ends: Ends,
    /// Who waits for the next one.
    reader: Option<Waker>,
}

/// Who is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Both,
    NoSender,
    NoReceiver,
}

impl<T> Default for Letters<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), ends: Ends::Both, reader: None }
    }
}

impl<T> Place<T> {
    fn letters(&self) -> MutexGuard<'_, Letters<T>> {
        // Nothing that is done under the lock leaves it half done.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// Sends `letter`; gives it back where nobody takes it any more.
    pub(crate) fn send(&self, letter: T) -> Result<(), T> {
        let Self(post) = self;
        let mut letters = post.0.letters();
        if letters.ends == Ends::NoReceiver {
            return Err(letter);
        }
        letters.waiting.push_back(letter);
        let reader = letters.reader.take();
        drop(letters);
        wake(reader);
        Ok(())
    }

    /// One that keeps no receiver waiting.
    pub(crate) fn downgrade(&self) -> WeakSender<T> {
        WeakSender(Arc::downgrade(&self.0))
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> WeakSender<T> {
    /// A sender, while there is another one.
    pub(crate) fn upgrade(&self) -> Option<Sender<T>> {
        self.0.upgrade().map(Sender)
    }
}

impl<T> Receiver<T> {
    /// The next one; `None` once nobody sends any more. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    fn poll_recv(&mut self, context: &Context<'_>) -> Poll<Option<T>> {
        let mut letters = self.0.letters();
        if let Some(letter) = letters.waiting.pop_front() {
            return Poll::Ready(Some(letter));
        }
        // It took room for what came at once.
        letters.waiting.shrink_to_fit();
        if letters.ends == Ends::NoSender {
            return Poll::Ready(None);
        }
        letters.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Post<T> {
    fn drop(&mut self) {
        let reader = {
            let mut letters = self.0.letters();
            letters.ends = Ends::NoSender;
            letters.reader.take()
        };
        wake(reader);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = {
            let mut letters = self.0.letters();
            letters.ends = Ends::NoReceiver;
            (std::mem::take(&mut letters.waiting), letters.reader.take())
        };
        // Not under the lock: a letter may hold a sender.
        drop(left);
    }
}

/// Not under the lock: it may run whatever it likes.
fn wake(reader: Option<Waker>) {
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn letters_are_taken_in_order_and_wake_whoever_waits() {
        let (sender, mut receiver) = mailbox();
        sender.send(1).unwrap();
        sender.clone().send(2).unwrap();
        assert_eq!((receiver.recv().await, receiver.recv().await), (Some(1), Some(2)));
        // One that was given up loses nothing.
        assert_eq!(receiver.recv().now_or_never(), None);
        let late = tokio::spawn(async move { receiver.recv().await });
        tokio::task::yield_now().await;
        sender.send(3).unwrap();
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(30), late).await.unwrap().unwrap(),
            Some(3)
        );
    }

    #[tokio::test]
    async fn each_end_sees_that_the_other_is_gone() {
        let (sender, mut receiver) = mailbox();
        let (weak, other) = (sender.downgrade(), sender.clone());
        drop(sender);
        weak.upgrade().unwrap().send("last").unwrap();
        drop(other);
        assert!(weak.upgrade().is_none());
        assert_eq!((receiver.recv().await, receiver.recv().await), (Some("last"), None));

        let (sender, receiver) = mailbox();
        let held = Arc::new(());
        sender.send(Arc::clone(&held)).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&held), 1, "what was not taken is gone");
        assert!(sender.send(held).is_err());
    }
}
