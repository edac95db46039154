//! Whether the event loop of one worker turns, where others on the same socket answer for it.
//!
//! A loop that turns is seen waiting for events sooner or later, and takes and closes connections. One
//! that is blocked (in a system call, in a computation, by SIGSTOP) does neither.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Verdict;
use crate::{
    ident::Port,
    process::Door,
    sys::{
        sockets,
        turning::{At, look},
    },
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A main process, and where it takes connections.
#[derive(Debug, Clone)]
pub(super) struct Loop {
    pub(super) pid: i32,
    pub(super) port: Port,
    pub(super) door: Door,
}

/// Looks for at most `within`. Where the kernel does not tell, or loops wait otherwise, so that none
/// behind the door was ever seen waiting, nothing follows from that.
pub(super) async fn turns(of: Loop, within: Duration) -> Verdict {
    let Loop { pid, port, door } = of;
    let end = Instant::now() + within;
    let gone = |e: std::io::Error| format!("it cannot be looked at: {e}");
    let mut before = None;
    loop {
        let at = look(pid).map_err(gone)?;
        if at == At::Events {
            door.note_waiting();
            return Ok("its event loop turns".to_owned());
        }
        if before.is_none() {
            before = Some(sockets::connections_of(pid, port.get()).map_err(gone)?);
        }
        if Instant::now() + LOOK > end {
            let moved = before != Some(sockets::connections_of(pid, port.get()).map_err(gone)?);
            return if moved || !door.has_waited() {
                Ok("its event loop is busy".to_owned())
            } else {
                Err(blocked(&at, within))
            };
        }
        sleep(LOOK).await;
    }
}

fn blocked(at: &At, within: Duration) -> String {
    let how = match at {
        At::Stop => "it is stopped by a signal".to_owned(),
        At::Other(place) if place.len() > 1 => format!("it waits in {place}"),
        At::Other(_) | At::Events => "it runs without a pause".to_owned(),
    };
    format!("its event loop did not turn in {within:?}: {how}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ident::Side,
        process::{Gate, Shelf},
    };

    #[tokio::test]
    async fn nobody_is_blamed_where_waiting_is_never_seen() {
        let gate =
            Gate::new("api@1".parse().unwrap(), ([127, 0, 0, 1], 1).into(), Shelf::default());
        let door = Door { gate, side: Side::A };
        let pid = std::process::id().cast_signed();
        let of = Loop { pid, port: Port::new(1).unwrap(), door: door.clone() };
        let soon = Duration::from_millis(1);
        assert!(turns(of.clone(), soon).await.is_ok());
        door.note_waiting();
        // The main thread of a test waits for the others.
        let verdict = turns(of, soon).await;
        assert!(verdict.unwrap_err().contains("did not turn"));
    }
}
