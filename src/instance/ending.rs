//! How a driver ends what runs in its slot, and sees that it has ended (`P2`).

use std::{sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{
    driver::{Driver, Predecessor},
    life::{Event, State, Then},
    view::{Cause, Death},
};
use crate::{
    config::StopSignal,
    ident::{Generation, Port},
    process::{self, PortHolder},
    sys::blocking,
};

/// How long the kernel may take to end a killed tree.
pub(super) const END_DEADLINE: Duration = Duration::from_secs(10);
/// How long the port of an ended tree may stay bound.
const PORT_DEADLINE: Duration = Duration::from_secs(2);
/// How often it is tried meanwhile.
const PORT_PAUSE: Duration = Duration::from_millis(5);
/// How long it may take to look through every process for the holder of a port.
const HOLDER_DEADLINE: Duration = Duration::from_secs(10);

impl Driver {
    pub(super) fn terminate(&mut self) {
        let signal = match self.service.stop.signal {
            StopSignal::Term => Signal::TERM,
            StopSignal::Quit => Signal::QUIT,
        };
        // A process that is stopped (SIGSTOP) hears it only once it goes on.
        for signal in [signal, Signal::CONT] {
            if let Some(Err(e)) = self.tree.as_ref().map(|tree| tree.signal(signal)) {
                tracing::error!(instance = %self.id, "{e}");
            }
        }
    }

    /// Ends the tree, and sees that it is gone and its port free (`P2`).
    pub(super) async fn end(&mut self) -> Option<Event> {
        let (of, then, ended, failed) = match self.life.state {
            State::Ending(g, then) => (Some(g), then, Event::Ended(g), Event::EndFailed(g)),
            State::Clearing(then) => (None, then, Event::Cleared, Event::NotCleared),
            _ => return None,
        };
        let of = of.or(self.runs.as_ref().map(|row| row.generation));
        match self.clear(then).await {
            Ok(()) => Some(ended),
            Err(why) => {
                self.give_up(of, why);
                Some(failed)
            }
        }
    }

    async fn clear(&mut self, then: Then) -> Result<(), String> {
        let launcher = &self.ground.launcher;
        match (&self.tree, &self.predecessor) {
            (Some(tree), _) => tree.end(END_DEADLINE).await.map_err(|e| e.to_string())?,
            // It may be serving (`P4`).
            (None, Predecessor::Unknown(why)) => return Err(why.clone()),
            (None, Predecessor::Settled) => {
                launcher.sweep(&self.id, END_DEADLINE).await.map_err(|e| e.to_string())?;
            }
        }
        // Only now: what could not be ended is tried again.
        if let Some(tree) = self.tree.take() {
            self.exit = tree.exit();
            self.ended = Some(Box::new(tree));
        }
        self.leave();
        self.capture.settle().await;
        // A port that is held for it, and perhaps for others, stays so whoever ends.
        let port = self.id.slot.port().filter(|_| self.id.worker.is_none());
        match (then, port) {
            (Then::Stop, Some(port)) => self.port_is_free(port).await,
            // Before a start the holder of the port is looked up anyway.
            _ => Ok(()),
        }
    }

    async fn port_is_free(&mut self, port: Port) -> Result<(), String> {
        let deadline = Instant::now() + PORT_DEADLINE;
        while process::is_free(port) == Some(false) && Instant::now() < deadline {
            sleep(PORT_PAUSE).await;
        }
        match self.port_holder(port).await? {
            None => Ok(()),
            Some(holder) => Err(format!("its tree is gone, but port {port} is held by {holder}")),
        }
    }

    /// Who listens on `port`. Every process is looked at only when somebody does, and by a thread.
    pub(super) async fn port_holder(&mut self, port: Port) -> Result<Option<PortHolder>, String> {
        if process::is_free(port) == Some(true) {
            return Ok(None);
        }
        let launcher = Arc::clone(&self.ground.launcher);
        let found = blocking::within(HOLDER_DEADLINE, move || launcher.port_holder(port)).await;
        found
            .map_err(|e| format!("cannot find out who listens on port {port}: {e}"))?
            .map_err(|e| e.to_string())
    }

    pub(super) fn give_up(&mut self, generation: Option<Generation>, why: String) {
        let death = Death { generation, cause: Cause::System(why), last_lines: vec![] };
        self.death = Some(Arc::new(death));
    }
}
