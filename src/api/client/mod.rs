//! The client of the control socket: one connection per request, and a deadline on every wait.

mod error;
mod lines;
mod outgoing;

use std::{error::Error, path::PathBuf, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::UnixStream,
    time::{Instant, timeout},
};

pub use self::{error::ClientError, lines::Lines, outgoing::Outgoing};
use super::types::Problem;

/// Deadlines of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until the daemon has accepted.
    pub connect: Duration,
    /// From the request to the first byte of the answer.
    pub first_byte: Duration,
    /// From the first byte to the last, where the answer is not a stream.
    pub rest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), first_byte: seconds(30), rest: seconds(10) }
    }
}

/// Most bytes of an answer that is not a stream.
const MOST: usize = 64 * 1024 * 1024;

/// Kinds of bodies.
const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// How often it is told how much was sent.
const PACE: Duration = Duration::from_millis(250);
/// How long nothing may be sent: longer than the daemon waits for more, so that it says so itself.
const STALL: Duration = Duration::from_secs(90);

/// A client of the daemon behind one control socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    patience: Patience,
}

impl Client {
    /// A client of the daemon that listens at `socket`; connects with each request.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), patience: Patience::default() }
    }

    /// The same with other deadlines.
    #[must_use]
    pub const fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// GETs `target`, a path with its query (see [`target`]).
    ///
    /// # Errors
    /// When the daemon cannot be reached, is too slow, or answers with a problem.
    pub async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.get_within(target, self.patience.first_byte).await
    }

    /// GETs `target`, where the daemon itself may wait: its first byte may take as long as
    /// `first_byte`. Add a few seconds to what it was told to wait.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_within<T: DeserializeOwned>(
        &self,
        target: &str,
        first_byte: Duration,
    ) -> Result<T, ClientError> {
        let answer = self.send(Method::GET, target, Bytes::new(), first_byte).await?;
        self.read(answer).await
    }

    /// POSTs `body` to `target`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        target: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.post_within(target, body, self.patience.first_byte).await
    }

    /// POSTs `body` to `target`, where the daemon itself may wait for as long as `first_byte`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_within<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        target: &str,
        body: &B,
        first_byte: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Unsendable)?;
        let answer = self.send(Method::POST, target, body.into(), first_byte).await?;
        self.read(answer).await
    }

    /// POSTs `body` to `target`; `told` hears how many bytes were sent, now and then.
    ///
    /// # Errors
    /// As [`Client::get`], and when `body` cannot be read.
    pub async fn post_bytes<T: DeserializeOwned>(
        &self,
        target: &str,
        body: Outgoing,
        told: &mut (dyn FnMut(u64) + Send),
    ) -> Result<T, ClientError> {
        let sent = body.sent();
        let request = self.exchange(request(Method::POST, target, OCTETS, body)?);
        let mut request = std::pin::pin!(request);
        let (mut before, mut moved) = (0, Instant::now());
        loop {
            match timeout(PACE, request.as_mut()).await {
                Ok(answer) => return self.read(answer?).await,
                Err(_) if moved.elapsed() > STALL => {
                    return Err(ClientError::TooSlow { doing: "take more", after: STALL });
                }
                Err(_) => {
                    let now = sent.load(Ordering::Relaxed);
                    if now != std::mem::replace(&mut before, now) {
                        moved = Instant::now();
                    }
                    told(now);
                }
            }
        }
    }

    /// GETs a stream: log lines or events. There is no deadline once it has begun.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn lines(&self, target: &str) -> Result<Lines, ClientError> {
        let first_byte = self.patience.first_byte;
        let answer = self.send(Method::GET, target, Bytes::new(), first_byte).await?;
        if answer.status().is_success() {
            Ok(Lines::new(answer))
        } else {
            Err(self.problem(answer).await)
        }
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
        first_byte: Duration,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = request(method, target, JSON, Full::new(body))?;
        timeout(first_byte, self.exchange(request))
            .await
            .map_err(|_| ClientError::TooSlow { doing: "answer", after: first_byte })?
    }

    async fn exchange<B>(&self, request: Request<B>) -> Result<Response<Incoming>, ClientError>
    where
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer, or when the answer is dropped.
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let after = self.patience.connect;
        match timeout(after, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(e)) => Err(ClientError::connecting(&self.socket, e)),
            Err(_) => Err(ClientError::NotAccepted { socket: self.socket.clone(), after }),
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        answer: Response<Incoming>,
    ) -> Result<T, ClientError> {
        if !answer.status().is_success() {
            return Err(self.problem(answer).await);
        }
        let status = answer.status();
        let text = self.collect(answer).await?;
        serde_json::from_slice(&text)
            .map_err(|e| ClientError::NotUnderstood { status, detail: e.to_string() })
    }

    async fn problem(&self, answer: Response<Incoming>) -> ClientError {
        let status: StatusCode = answer.status();
        match self.collect(answer).await.map(|text| serde_json::from_slice::<Problem>(&text)) {
            Ok(Ok(problem)) => ClientError::Problem { status, problem },
            Ok(Err(e)) => ClientError::NotUnderstood { status, detail: e.to_string() },
            Err(e) => e,
        }
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let after = self.patience.rest;
        match timeout(after, Limited::new(answer.into_body(), MOST).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(e)) => Err(ClientError::Broken(e.to_string())),
            Err(_) => Err(ClientError::TooSlow { doing: "finish its answer", after }),
        }
    }
}

fn request<B>(
    method: Method,
    target: &str,
    kind: &'static str,
    body: B,
) -> Result<Request<B>, ClientError> {
    let mut request = Request::new(body);
    *request.uri_mut() = target.parse().map_err(|_| ClientError::Target(target.to_owned()))?;
    *request.method_mut() = method;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("aibkd"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(request)
}

/// `path` with `query` behind it.
///
/// # Errors
/// When the query cannot be written as one: it has a map or a list in it.
pub fn target(path: &str, query: &impl Serialize) -> Result<String, ClientError> {
    let query = serde_urlencoded::to_string(query)
        .map_err(|e| ClientError::Target(format!("{path}: {e}")))?;
    Ok(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") })
}
