//! Asking an instance once. An answer is what was seen, for people; so is what speaks against it.

mod command;
mod http;
mod turning;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{Ground, kept::Kept, knock};
use crate::{
    config::{How, Http, Service},
    ident::{InstanceId, Slot},
    process::{Door, Launcher},
    store::SlotRow,
};

/// What was seen, or what speaks against the instance.
pub(super) type Verdict = Result<String, String>;

/// Whom a probe is about.
#[derive(Clone, Copy)]
pub(super) struct Whom<'a> {
    pub(super) id: &'a InstanceId,
    pub(super) service: &'a Arc<Service>,
    pub(super) ground: &'a Ground,
    pub(super) door: Option<&'a Door>,
    /// What runs.
    pub(super) runs: &'a SlotRow,
}

impl Whom<'_> {
    /// The same, for as long as an answer takes.
    pub(super) fn subject(self) -> Subject {
        Subject {
            id: self.id.clone(),
            service: Arc::clone(self.service),
            launcher: Arc::clone(&self.ground.launcher),
            door: self.door.cloned(),
            runs: self.runs.clone(),
        }
    }
}

/// [`Whom`] a probe under way is about.
pub(super) struct Subject {
    id: InstanceId,
    service: Arc<Service>,
    launcher: Arc<Launcher>,
    door: Option<Door>,
    runs: SlotRow,
}

impl Subject {
    /// The event loop of one of several processes on a socket.
    fn event_loop(&self) -> Option<turning::Loop> {
        let door = self.door.clone()?;
        let pid = Kept::read(self.runs.identity.as_deref()?)?.who.pid;
        let port = self.id.slot.port()?;
        Some(turning::Loop { pid, port, door })
    }

    fn address(&self) -> Result<SocketAddr, String> {
        match self.id.slot {
            Slot::Port(port) => Ok(SocketAddr::new(self.service.host(), port.get())),
            Slot::Sole => Err("it has no port".to_owned()),
        }
    }
}

/// Asks `how` whether it is alive. Where others on its socket may answer instead, its own event loop
/// is looked at, too.
pub(super) async fn ask_for_life(
    subject: Subject,
    how: How,
    name: &'static str,
    within: Duration,
) -> Verdict {
    let Some(event_loop) = subject.event_loop() else {
        return ask(subject, how, name, within).await;
    };
    let turns = turning::turns(event_loop, within);
    let (answer, turns) = tokio::join!(ask(subject, how, name, within), turns);
    turns.and(answer)
}

/// Puts the question `how` once, at most for `within`; `name` tells questions of one instance apart.
pub(super) async fn ask(
    subject: Subject,
    how: How,
    name: &'static str,
    within: Duration,
) -> Verdict {
    let answer = match &how {
        // It sees to its own end.
        How::Command(argv) => return command::ask(&subject, argv, name, within).await,
        How::Tcp => timeout(within, tcp(&subject)).await,
        How::Http(question) => timeout(within, get(&subject, question)).await,
    };
    answer.unwrap_or_else(|_| Err(format!("no answer in {within:?}")))
}

async fn tcp(subject: &Subject) -> Verdict {
    connect(subject).await.map(|_| "connected".to_owned())
}

async fn get(subject: &Subject, question: &Http) -> Verdict {
    match &question.socket {
        None => http::ask(connect(subject).await?, question).await,
        Some(socket) => {
            let stream = UnixStream::connect(socket).await.map_err(|e| reason(&e))?;
            http::ask(stream, question).await
        }
    }
}

async fn connect(subject: &Subject) -> Result<TcpStream, String> {
    let connected = knock::connect(subject.address()?, subject.door.as_ref()).await;
    connected.map_err(|e| reason(&e))
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nobody listens yet".to_owned(),
        std::io::ErrorKind::NotFound => "its socket is not there yet".to_owned(),
        _ => error.to_string(),
    }
}
