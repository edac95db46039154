//! The server of the control socket: connections, their limits, and the end of it all.

use std::{convert::Infallible, error::Error, os::fd::OwnedFd, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Request, body::Body, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{JoinError, JoinSet},
    time::error::Elapsed,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    access::{Peer, Policy, credentials},
    answer::{self, Reply},
    dispatch::{self, dispatch, stranger, too_long},
    listen::{Heir, ListenError, Listening},
    operations::{Caller, Operations},
    patience::Impatient,
    relisten::{Caretaker, Errand},
    request::{Ask, Head, read_body},
    route::{Call, Found, Receive, Routes},
    sent::Sent,
    types::Problem,
};
use crate::config::Control;

/// What a client may use of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once of users who are not admin.
    pub connections: usize,
    /// Connections at once of root and the daemon's own user, so that nobody can lock them out.
    pub admin_connections: usize,
    /// From the connection, or the last answer, to the end of a request's head.
    pub head: Duration,
    /// From the head to the end of the body.
    pub body: Duration,
    /// Size of a body.
    pub body_bytes: usize,
    /// The longest that nothing may come of a body of any length.
    pub pause: Duration,
    /// From a whole request to its answer; longer than the longest `wait`.
    pub answer: Duration,
    /// How long a peer may take nothing of its answer, before it loses its connection.
    pub write: Duration,
    /// From the end of the server to the end of connections that still have an answer to get.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            admin_connections: 64,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            body_bytes: 64 * 1024,
            pause: Duration::from_secs(60),
            answer: Duration::from_secs(75),
            write: Duration::from_secs(60),
            farewell: Duration::from_secs(2),
        }
    }
}

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// Pause after an `accept` that failed (no descriptor left), so that it does not spin.
const BREATH: Duration = Duration::from_millis(100);

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listening: Listening,
    group: Option<String>,
    shared: Arc<Shared>,
    caretaker: Caretaker,
    errands: mpsc::Receiver<Errand>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What every connection needs.
pub(super) struct Shared {
    pub(super) ops: Arc<dyn Operations>,
    pub(super) routes: Routes,
    pub(super) policy: Policy,
    pub(super) limits: Limits,
    pub(super) closing: CancellationToken,
    users: Arc<Semaphore>,
    admins: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(ops: Arc<dyn Operations>, policy: Policy, limits: Limits) -> Self {
        Self {
            ops,
            routes: Routes::new(),
            policy,
            closing: CancellationToken::new(),
            users: Arc::new(Semaphore::new(limits.connections)),
            admins: Arc::new(Semaphore::new(limits.admin_connections)),
            limits,
        }
    }

    fn admit(&self, uid: u32) -> Option<OwnedSemaphorePermit> {
        let seats = if self.policy.is_admin(uid) { &self.admins } else { &self.users };
        Arc::clone(seats).try_acquire_owned().ok()
    }
}

impl Server {
    /// Listens on the control socket, on the one that a predecessor handed over where it is that;
    /// within a tokio runtime. Clients that connect from now on wait until [`Server::run`].
    ///
    /// # Errors
    /// When somebody else listens there, or the socket cannot be made as configured.
    pub fn bind(
        control: &Control,
        handed: Option<OwnedFd>,
        ops: Arc<dyn Operations>,
        limits: Limits,
    ) -> Result<Self, ListenError> {
        let group = control.group.as_deref();
        let listening = match handed.and_then(|fd| Listening::handed(fd, &control.socket)) {
            Some(listening) => listening,
            None => Listening::at(&control.socket, group)?,
        };
        let policy = Policy::new(control.grants.clone());
        let (group, shared) = (control.group.clone(), Shared::new(ops, policy, limits));
        let (caretaker, errands) = Caretaker::new();
        Ok(Self { listening, group, shared: Arc::new(shared), caretaker, errands })
    }

    /// What lets another program listen on when this one is gone.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn heir(&self) -> Result<Heir, ListenError> {
        self.listening.heir()
    }

    /// What lets it look after its socket while it runs.
    #[must_use]
    pub fn caretaker(&self) -> Caretaker {
        self.caretaker.clone()
    }

    /// Answers until `shutdown`; then ends streams, lets answers under way finish, and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { mut listening, group, shared, caretaker: _, mut errands } = self;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => told(ended),
                Some(answer) = errands.recv() => {
                    let welcome = |stream| welcome(&shared, stream, &mut connections);
                    let _ = answer.send(listening.see_to(group.as_deref(), welcome));
                }
                accepted = listening.listener.accept() => match accepted {
                    Ok((stream, _)) => welcome(&shared, stream, &mut connections),
                    Err(e) => {
                        tracing::warn!("cannot accept a connection to the control socket: {e}");
                        tokio::time::sleep(BREATH).await;
                    }
                },
            }
        }
        drop(listening);
        shared.closing.cancel();
        let farewell = async {
            while let Some(ended) = connections.join_next().await {
                told(ended);
            }
        };
        if tokio::time::timeout(shared.limits.farewell, farewell).await.is_err() {
            connections.shutdown().await;
        }
    }
}

fn told(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended {
        tracing::error!("a connection to the control socket ended badly: {e}");
    }
}

fn welcome(shared: &Arc<Shared>, stream: UnixStream, connections: &mut JoinSet<()>) {
    let peer = match credentials(&stream) {
        Ok(peer) => peer,
        Err(e) => return tracing::warn!("a peer without credentials is turned away: {e}"),
    };
    let Some(seat) = shared.admit(peer.uid()) else {
        tracing::warn!(uid = peer.uid(), "too many connections; one more is turned away");
        return turn_away(&stream);
    };
    let shared = Arc::clone(shared);
    connections.spawn(async move {
        let peer = shared.policy.judge(peer).await;
        serve(shared, stream, peer).await;
        drop(seat);
    });
}

/// Says so without waiting; the buffer of a new connection has room for it.
fn turn_away(stream: &UnixStream) {
    let said = "{\"code\":\"refused\",\"message\":\"too many connections are open\",\
                \"hint\":\"close some (`aibkctl events -f`, `logs -f`), then try again\"}\n";
    let reply = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{said}",
        said.len()
    );
    if let Err(e) = stream.try_write(reply.as_bytes()) {
        tracing::debug!("the peer turned away was not told: {e}");
    }
}

async fn serve(shared: Arc<Shared>, stream: UnixStream, peer: Peer) {
    let closing = shared.closing.clone();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(shared.limits.head).max_buf_size(HEAD_BYTES);
    let service = service_fn(|request| {
        let (shared, peer) = (Arc::clone(&shared), peer.clone());
        async move { Ok::<_, Infallible>(handle(&shared, peer, request).await) }
    });
    let stream = TokioIo::new(Impatient::new(stream, shared.limits.write));
    let mut connection = std::pin::pin!(http.serve_connection(stream, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!("a connection to the control socket ended early: {e}");
    }
}

/// Answers one request; never fails.
pub(super) async fn handle<B>(shared: &Arc<Shared>, peer: Peer, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let caller = match peer {
        Peer::Known(caller) => caller,
        Peer::Stranger { uid } => return answer::last(stranger(uid)),
    };
    let (head, body) = request.into_parts();
    let head = Head { method: head.method, uri: head.uri, headers: head.headers };
    if let Found::Route(route, name) = shared.routes.find(&head.method, head.uri.path())
        && let Call::Receive(what) = route.call
    {
        let ask = head.ask(caller, route, name, Bytes::new());
        return receive(shared, what, ask, Sent::new(body, shared.limits.pause)).await;
    }
    match read_body(body, &shared.limits).await {
        Ok(body) => answer(shared, caller, &head, body).await,
        Err(problem) => answer::last(answer::problem(&problem)),
    }
}

async fn answer(shared: &Arc<Shared>, caller: Caller, head: &Head, body: Bytes) -> Reply {
    let path = head.uri.path();
    match shared.routes.find(&head.method, path) {
        Found::Route(route, name) => perform(shared, head.ask(caller, route, name, body)).await,
        Found::OtherMethods(allow) => {
            let said = format!("{path} is there for {allow}, not for {}", head.method);
            answer::other_methods(&allow, &Problem::bad_request(said))
        }
        Found::Nothing => answer::problem(&Problem::not_found(format!("there is no {path}"))),
    }
}

/// Runs the operation on a task of its own, so that its panic is only its own, and so that a
/// change goes on although the client goes away.
async fn perform(shared: &Arc<Shared>, ask: Ask) -> Reply {
    let (uid, pid) = (ask.caller.uid, ask.caller.pid);
    let (route, call) = (ask.route.path, ask.route.call);
    let (ops, closing) = (Arc::clone(&shared.ops), shared.closing.clone());
    let mut task =
        AbortOnDropHandle::new(tokio::spawn(async move { dispatch(&*ops, ask, closing).await }));
    let done = match call {
        Call::Read(_) => tokio::time::timeout(shared.limits.answer, &mut task).await,
        Call::Change(_) | Call::Receive(_) => {
            tokio::time::timeout(shared.limits.answer, task.detach()).await
        }
    };
    let reply = reply_of(done, route);
    if let Call::Change(_) = call {
        log((uid, pid), route, &reply);
    }
    reply
}

/// Runs what takes the body that is `sent`. There is a deadline on each piece, and from the end of
/// the last one on the usual one.
async fn receive(shared: &Arc<Shared>, what: Receive, ask: Ask, sent: Sent) -> Reply {
    let (who, route) = ((ask.caller.uid, ask.caller.pid), ask.route.path);
    let (ops, over) = (Arc::clone(&shared.ops), sent.over());
    let task = tokio::spawn(async move { dispatch::receive(&*ops, what, ask, sent).await });
    over.cancelled().await;
    let reply = reply_of(tokio::time::timeout(shared.limits.answer, task).await, route);
    log(who, route, &reply);
    reply
}

fn reply_of(done: Result<Result<Reply, JoinError>, Elapsed>, route: &str) -> Reply {
    match done {
        Ok(Ok(reply)) => reply,
        Ok(Err(e)) => {
            tracing::error!("{route} failed by a defect of aibkd: {e}");
            answer::problem(&Problem::failed(format!("{route} failed by a defect of aibkd")))
        }
        Err(_) => too_long(),
    }
}

/// Who changed what, or wanted to.
fn log((uid, pid): (u32, i32), route: &str, reply: &Reply) {
    let status = reply.status().as_u16();
    tracing::info!(uid, pid, route, status, "uid {uid} asked for {route}: {status}");
}
