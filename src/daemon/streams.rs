//! Events on their way to a client, for as long as it listens.

use tokio::sync::{broadcast, mpsc};

use crate::store::Event;

/// Past events, then new ones; what both hold is told once.
pub(super) async fn events(
    past: Vec<Event>,
    after: u64,
    more: Option<broadcast::Receiver<Event>>,
    send: mpsc::Sender<Event>,
) {
    let mut told = past.last().map_or(after, |event| event.id);
    for event in past {
        if send.send(event).await.is_err() {
            return;
        }
    }
    let Some(mut more) = more else { return };
    loop {
        let event = tokio::select! {
            event = more.recv() => event,
            () = send.closed() => return,
        };
        match event {
            // One that could not be stored has the id 0, and is in no past.
            Ok(event) if event.id != 0 && event.id <= told => {}
            Ok(event) => {
                told = told.max(event.id);
                if send.send(event).await.is_err() {
                    return;
                }
            }
            // A reader that is too slow finds what it missed by asking again, after its last id.
            Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_event_is_told_once_and_one_without_an_id_too() {
        let event = |id| Event { id, ..Event::default() };
        let (tell, more) = broadcast::channel(8);
        for id in [4, 5, 0, 6, 0] {
            tell.send(event(id)).unwrap();
        }
        drop(tell);
        let (send, mut told) = mpsc::channel(8);
        events(vec![event(3), event(4)], 2, Some(more), send).await;
        let mut ids = vec![];
        while let Some(event) = told.recv().await {
            ids.push(event.id);
        }
        assert_eq!(ids, [3, 4, 5, 0, 6, 0]);
    }
}
