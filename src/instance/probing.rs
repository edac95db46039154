//! When an instance is probed, and what a probe's answer means.

use std::{future::Future, net::SocketAddr, pin::Pin, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    life::{self, Event, State},
    probe::{self, Target},
};
use crate::{
    config::{Kind, Probe, Ready, Service},
    ident::Slot,
    process::{self, Door},
};

/// While it starts, it is asked this often: a refused connection costs next to nothing.
const WHILE_STARTING: Duration = Duration::from_millis(25);

type Asking = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The probes of one instance.
pub(super) struct Probing {
    ready: Ready,
    target: Option<Target>,
    slot: Slot,
    door: Option<Door>,
    due: Option<Instant>,
    pace: Duration,
    asking: Option<Asking>,
    complaint: Option<String>,
}

impl Probing {
    pub(super) fn new(service: &Service, slot: Slot, door: Option<Door>) -> Self {
        let host = match &service.kind {
            Kind::Asgi(asgi) => asgi.host,
            Kind::Command(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        };
        let target = match &service.ready.probe {
            Probe::Http { .. } => {
                slot.port().map(|port| Target::Tcp(SocketAddr::new(host, port.get())))
            }
            Probe::Unix { socket, .. } => Some(Target::Unix(socket.clone())),
            Probe::Alive { .. } => None,
        };
        Self {
            ready: service.ready.clone(),
            target,
            slot,
            door,
            due: None,
            pace: service.ready.interval,
            asking: None,
            complaint: None,
        }
    }

    /// What the last probe said against the instance.
    pub(super) fn complaint(&self) -> Option<String> {
        self.complaint.clone()
    }

    /// Answers that were under way are about another state, and are forgotten.
    pub(super) fn state_changed(&mut self, before: State, state: State) {
        self.asking = None;
        let adopted = life::is_adoption(before, state);
        self.pace = match state {
            State::Starting(_) => WHILE_STARTING,
            // Most probably it is ready, and traffic waits for us to see it.
            _ if adopted => WHILE_STARTING,
            _ => self.ready.interval,
        };
        self.due = match (state, &self.ready.probe) {
            (State::Starting(_), Probe::Alive { after }) => Some(Instant::now() + *after),
            (State::Starting(_), _) => Some(Instant::now()),
            _ if adopted => Some(Instant::now()),
            (State::Ready(_) | State::Unready(_), Probe::Http { .. } | Probe::Unix { .. }) => {
                Some(Instant::now() + self.ready.interval)
            }
            _ => None,
        };
        if !matches!(state, State::Starting(_) | State::Unready(_)) {
            self.complaint = None;
        }
    }

    /// Waits for the next answer. Cancel safe: what was asked is asked on.
    pub(super) async fn next(&mut self, state: State, tree: impl Fn() -> Vec<i32>) -> Event {
        let (Some(generation), Some(due)) = (life::probed(state), self.due) else {
            return std::future::pending().await;
        };
        if self.asking.is_none() {
            sleep_until(due).await;
        }
        let answer = self
            .asking
            .get_or_insert_with(|| ask(self.target.clone(), &self.ready, self.door.clone()))
            .await;
        self.asking = None;
        let answer = match (answer, state) {
            (Ok(()), State::Starting(_) | State::Unready(_)) => self.is_ours(&tree()),
            (answer, _) => answer,
        };
        self.complaint = answer.as_ref().err().cloned();
        if answer.is_err() && !matches!(state, State::Starting(_)) {
            self.pace = self.ready.interval;
        }
        self.due = Some(Instant::now() + self.pace);
        match answer {
            Ok(()) => Event::ProbePassed(generation),
            Err(_) => Event::ProbeFailed(generation),
        }
    }

    /// An old process on the port can never vouch for a new generation.
    fn is_ours(&self, tree: &[i32]) -> Result<(), String> {
        if let Some(door) = &self.door {
            let serves = door.is_served_by(tree).then_some(());
            return serves.ok_or_else(|| "it does not accept connections yet".to_owned());
        }
        let Some(port) = self.slot.port() else { return Ok(()) };
        match process::listens(tree, port) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("port {port} is answered by a process that is not ours")),
            Err(e) => Err(format!("cannot see who listens on port {port}: {e}")),
        }
    }
}

fn ask(target: Option<Target>, ready: &Ready, door: Option<Door>) -> Asking {
    let within = ready.timeout;
    match (target, &ready.probe) {
        (Some(target), Probe::Http { path } | Probe::Unix { path, .. }) => {
            let path = path.clone();
            Box::pin(async move { probe::http(&target, &path, within, door.as_ref()).await })
        }
        _ => Box::pin(std::future::ready(Ok(()))),
    }
}
