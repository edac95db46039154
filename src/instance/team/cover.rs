//! Another slot that stands in for this one while nothing of it is left.

use super::Team;
use crate::{
    instance::{Phase, View},
    latest,
    process::StandIn,
};

impl Team {
    /// Tells the gate whether somebody stands in; returns who, to be looked at again.
    pub(super) fn look_at_stand_in(&mut self) -> Option<latest::Receiver<View>> {
        let mut other = self.stand_in.borrow_and_update().clone();
        let is_ready =
            |view: &mut latest::Receiver<View>| view.borrow_and_update().phase == Phase::Ready;
        let ready = other.as_mut().is_some_and(is_ready);
        self.gate.cover(if ready { StandIn::Ready } else { StandIn::Nobody });
        other
    }
}

/// Waits until somebody else stands in, or whoever does has changed.
pub(super) async fn changed(
    stand_in: &mut latest::Receiver<Option<latest::Receiver<View>>>,
    other: Option<latest::Receiver<View>>,
) {
    let other = async {
        let gone = match other {
            Some(mut other) => other.changed().await.is_err(),
            None => true,
        };
        if gone {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        // Nobody tells any more: it stays as it is.
        known = stand_in.changed() => if known.is_err() { std::future::pending().await },
        () = other => {}
    }
}
