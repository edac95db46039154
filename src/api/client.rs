//! Stand-in for the client of the control socket.

use std::{io, path::PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::types::Problem;

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("cannot connect to {}", socket.display())]
    NotReachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The daemon said no.
    #[error("{}", .0.message)]
    Problem(Problem),
    /// The connection broke, or what came back is not understood.
    #[error("{0}")]
    Broken(String),
}

/// A client of the control socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// Lines of a streamed answer.
#[derive(Debug)]
pub struct LineStream {
    body: Incoming,
    buffer: Vec<u8>,
}

impl LineStream {
    /// The next line, without its end; none when the answer has ended.
    pub async fn next(&mut self) -> Option<Result<String, ClientError>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return Some(Ok(String::from_utf8_lossy(&line).into_owned()));
            }
            match self.body.frame().await? {
                Ok(frame) => self.buffer.extend_from_slice(frame.data_ref()?),
                Err(e) => return Some(Err(ClientError::Broken(e.to_string()))),
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value)]
fn broken(e: impl ToString) -> ClientError {
    ClientError::Broken(e.to_string())
}

impl Client {
    /// A client of the daemon at `socket`.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::NotReachable { socket: self.socket.clone(), source })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "aibk")
            .body(Full::new(bytes::Bytes::from(body)))
            .map_err(broken)?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let body = answer.into_body().collect().await.map_err(broken)?.to_bytes();
        Err(ClientError::Problem(serde_json::from_slice(&body).map_err(broken)?))
    }

    /// GET `path`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = self.send("GET", path, Vec::new()).await?;
        let body = answer.into_body().collect().await.map_err(broken)?.to_bytes();
        serde_json::from_slice(&body).map_err(broken)
    }

    /// POST `body` to `path`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(broken)?;
        let answer = self.send("POST", path, body).await?;
        let body = answer.into_body().collect().await.map_err(broken)?.to_bytes();
        serde_json::from_slice(&body).map_err(broken)
    }

    /// GET `path`, line by line.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn lines(&self, path: &str) -> Result<LineStream, ClientError> {
        let answer = self.send("GET", path, Vec::new()).await?;
        Ok(LineStream { body: answer.into_body(), buffer: Vec::new() })
    }
}
