//! Telling an instance to read its own configuration again, and seeing what comes of it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http_body_util::Empty;
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use tokio::{net::TcpStream, time::timeout};

use super::{Instance, InstanceError, Order, Phase, View, driver::Driver, life};
use crate::config::{Reload, ReloadSignal};

/// Why an instance was not seen to reload.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// There is nobody to tell.
    #[error("{} is {}, so there is nothing to reload", .0.id, .0.phase.word())]
    NotRunning(Box<View>),
    /// It ended.
    #[error("{} did not survive {by}: {}", .view.id, outcome(.view))]
    Lost {
        /// What it is now.
        view: Box<View>,
        /// What it was told.
        by: String,
    },
    /// Its answer is no 2xx, or there is none.
    #[error("{id}: {by} {why}")]
    Refused {
        /// Which instance.
        id: crate::ident::InstanceId,
        /// What it was told.
        by: String,
        /// What came of it.
        why: String,
    },
    /// It takes no orders.
    #[error(transparent)]
    Instance(#[from] InstanceError),
}

fn outcome(view: &View) -> String {
    let death = view.death.as_ref().map(|death| format!("it {}", death.cause));
    death.unwrap_or_else(|| format!("it is {}", view.phase.word()))
}

impl Instance {
    /// Tells it to reload as `how` has it, and returns what was observed: that it lives on, or its
    /// answer. `host` is where its service listens.
    ///
    /// # Errors
    /// When it does not run, did not live on, or did not answer with a 2xx in time.
    pub async fn reload(&self, how: &Reload, host: IpAddr) -> Result<String, ReloadError> {
        let before = self.view();
        let up = |phase| matches!(phase, Phase::Starting | Phase::Ready | Phase::Unready);
        if before.identity.is_none() || !up(before.phase) {
            return Err(ReloadError::NotRunning(Box::new(before)));
        }
        let by = how.to_string();
        match how {
            Reload::Signal { signal, alive } => {
                self.order(Order::Signal(*signal)).await?;
                let gone = |view: &View| view.identity != before.identity || !up(view.phase);
                match self.until(*alive, gone).await {
                    Err(InstanceError::TooSlow { .. }) => Ok(format!("alive {alive:?} later")),
                    Err(e) => Err(e.into()),
                    Ok(view) => Err(ReloadError::Lost { view: Box::new(view), by }),
                }
            }
            Reload::Http { method, path, deadline } => {
                let refused = |why| ReloadError::Refused { id: self.id().clone(), by, why };
                let Some(port) = self.id().slot.port() else {
                    return Err(refused("has no port to go to".to_owned()));
                };
                let address = SocketAddr::new(host, port.get());
                match timeout(*deadline, ask(address, method, path)).await {
                    Ok(Ok(status)) if status.is_success() => Ok(format!("answered {status}")),
                    Ok(Ok(status)) => Err(refused(format!("was answered with {status}"))),
                    Ok(Err(e)) => Err(refused(format!("failed: {e}"))),
                    Err(_) => Err(refused(unanswered(*deadline))),
                }
            }
        }
    }
}

fn unanswered(within: Duration) -> String {
    format!("was not answered in {within:?}")
}

async fn ask(
    address: SocketAddr,
    method: &Method,
    path: &str,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, concat!("aibkd/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_LENGTH, "0")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    // The connection is driven here and dropped with the answer.
    let answered = tokio::select! {
        biased;
        answered = &mut answer => answered,
        _ended = &mut connection => answer.await,
    };
    Ok(answered?.status())
}

impl Driver {
    /// Sends `signal` to the main process, which `life` knows to be running.
    pub(super) fn send(&self, signal: ReloadSignal) -> Result<(), InstanceError> {
        let signal = match signal {
            ReloadSignal::Hup => Signal::HUP,
            ReloadSignal::Usr1 => Signal::USR1,
            ReloadSignal::Usr2 => Signal::USR2,
            ReloadSignal::Winch => Signal::WINCH,
            ReloadSignal::Ttin => Signal::TTIN,
            ReloadSignal::Ttou => Signal::TTOU,
        };
        let tree = self.tree.as_ref().filter(|_| life::probed(self.life.state).is_some());
        let sent = tree.map_or_else(
            || Err("it does not run any more".to_owned()),
            |tree| tree.signal(signal).map_err(|e| e.to_string()),
        );
        sent.map_err(|why| InstanceError::NotSent { id: self.id.clone(), why })
    }
}
