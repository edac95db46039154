//! The end of an instance's traffic, and of the instance: what is waited for, and what was cut.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    effects::{Crew, Result, SLACK},
    left::{Left, Tell, Told},
    words,
};
use crate::{
    config::{Kind, OnDeadline, Websocket},
    ident::Slot,
    instance::{Instance, InstanceError, Phase, View},
    nginx::{Draining, Patience},
    process::{Callers, Exit},
};

/// Between two looks at the connections of an instance that was told to end.
const LOOK: Duration = Duration::from_millis(50);

/// uvicorn begins to count its patience at least so long after the signal.
const BEGINS: Duration = Duration::from_millis(100);

/// Whose connections are looked at.
#[derive(Debug, Clone)]
enum Open<'a> {
    /// Everybody's in a slot.
    Of(Callers),
    /// Those of what stands beside an instance in its slot.
    Beside(&'a Instance),
    /// Nobody's: it has no port, or hangs, and what it had in hand is lost already.
    Nobody,
}

impl Open<'_> {
    /// How many are open now; `before` where it cannot be seen.
    async fn look(&mut self, before: usize, tell: Tell<'_>) -> usize {
        match self {
            Open::Of(callers) => {
                let mut looking = callers.clone();
                let looked = tokio::task::spawn_blocking(move || (looking.look(), looking)).await;
                let Ok((Ok(calls), seen)) = looked else { return before };
                *callers = seen;
                let oldest_s = calls.oldest.as_secs();
                tell(Told::Left(Left { connections: calls.many, oldest_s, old_workers: vec![] }));
                calls.many
            }
            Open::Beside(instance) => instance.connections().await,
            Open::Nobody => 0,
        }
    }
}

impl Crew {
    pub(super) async fn drain(&self, slot: Slot, tell: Tell<'_>) -> Result {
        let (Some(nginx), Some(port)) = (&self.nginx, slot.port()) else { return Ok(None) };
        let (policy, begun) = (&self.service.drain, Instant::now());
        let patience = Patience { deadline: policy.deadline, grace: policy.grace() };
        let changed = |left: &Draining| tell(Told::Left(left.into()));
        let left = nginx.drain(port, patience, &changed).await;
        let left = Left::from(&left.map_err(|e| e.to_string())?);
        match (policy.websocket, policy.on_deadline) {
            _ if left.is_nothing() => Ok(None),
            (Websocket::Close { .. }, _) => {
                let after = begun.elapsed().as_secs();
                Ok(Some(format!("after {after}s: {left}; websockets are closed with 1012")))
            }
            (Websocket::Wait, OnDeadline::Stop) => Ok(Some(format!("at its deadline: {left}"))),
            (Websocket::Wait, OnDeadline::Keep) => Err(format!(
                "{slot} still has traffic after {:?} ({left}), and `drain.on_deadline` is `keep`",
                policy.deadline,
            )),
        }
    }

    pub(super) async fn stop(&self, slot: Slot, tell: Tell<'_>) -> Result {
        let instance = self.instance(slot)?;
        let open = match slot.port() {
            Some(port) if instance.view().phase != Phase::Hung => Open::Of(Callers::new(port)),
            _ => Open::Nobody,
        };
        let told = Instant::now();
        instance.stop().await.map_err(|e| e.to_string())?;
        let within = self.service.stop.deadline + SLACK;
        let stopped = |view: &View| matches!(view.phase, Phase::Stopped | Phase::Failed);
        let (view, note) = self.ended(told, instance.until(within, stopped), open, tell).await?;
        match (view.phase, view.death) {
            (Phase::Stopped, _) => Ok(note),
            (_, Some(death)) => {
                Err(format!("{} cannot be stopped: {}", instance.id(), death.cause))
            }
            (phase, None) => Err(format!("{} is {} instead of stopped", view.id, phase.word())),
        }
    }

    /// Stops what stands beside the instance in `slot`.
    pub(super) async fn dismiss(&self, slot: Slot, tell: Tell<'_>) -> Result {
        let instance = self.instance(slot)?;
        let told = Instant::now();
        instance.dismiss().await.map_err(|e| e.to_string())?;
        let within = self.service.stop.deadline + SLACK;
        let gone = instance.until(within, |view| view.beside.is_none());
        let ended = self.ended(told, gone, Open::Beside(instance), tell).await;
        let (_, note) =
            ended.map_err(|e| format!("what stood beside {slot} is not stopped: {e}"))?;
        Ok(note)
    }

    /// Waits for the end of what was told to end at `told`, with an eye on its connections; says, and
    /// notes, how many requests that has cut.
    async fn ended(
        &self,
        told: Instant,
        end: impl Future<Output = std::result::Result<View, InstanceError>>,
        mut open: Open<'_>,
        tell: Tell<'_>,
    ) -> Result<(View, Option<String>)> {
        let patient_until = told + self.patience_of_program();
        let (mut end, mut many) = (pin!(end), 0);
        let view = loop {
            // What is cut then is gone before its process is.
            if Instant::now() < patient_until {
                many = open.look(many, tell).await;
            }
            tokio::select! {
                biased;
                view = &mut end => break view.map_err(|e| e.to_string())?,
                () = sleep(LOOK) => {}
            }
        };
        let outlasted = Instant::now() >= patient_until;
        let finished = !outlasted && heeds(&self.service.kind, view.exit);
        let cut = if finished { 0 } else { many };
        tell(Told::Cut(cut));
        Ok((view, words::cut(cut)))
    }

    /// How long a program that was told to end goes on with the requests that it has.
    fn patience_of_program(&self) -> Duration {
        match self.service.kind {
            Kind::Asgi(_) => self.service.drain.graceful() + BEGINS,
            Kind::Command(_) => self.service.stop.deadline,
        }
    }
}

/// It has finished its requests before it ended so. uvicorn raises the signal again at its end; any
/// other program that a signal ends has not heeded it.
const fn heeds(kind: &Kind, exit: Option<Exit>) -> bool {
    match kind {
        Kind::Asgi(_) => true,
        Kind::Command(_) => !matches!(exit, Some(Exit::Signal(_))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_a_signal_ends_has_finished_nothing() {
        let command = Kind::Command(vec!["./serve".to_owned()]);
        assert!(!heeds(&command, Some(Exit::Signal(15))));
        assert!(heeds(&command, Some(Exit::Code(0))));
        assert!(heeds(&command, None), "nothing ran");
    }
}
