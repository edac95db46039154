//! The proof socket: nginx itself tells what it serves (`T3`, `S3`).

use std::{io, os::unix::fs::FileTypeExt, path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::{Edited, NginxError};

/// Where on the proof socket nginx tells it; `render` writes the same.
pub const PROOF_PATH: &str = "/aibk";

/// How long one question waits. nginx answers in well under a millisecond; a worker that is busy
/// with others may need longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// For who asks again, or only shows it.
    Quick,
    /// For who acts on it, and must not take a busy nginx for a silent one.
    Patient,
}

impl Ask {
    const fn deadline(self) -> Duration {
        match self {
            Self::Quick => Duration::from_secs(1),
            Self::Patient => Duration::from_secs(2),
        }
    }
}

/// The largest answer that is read.
const LARGEST: usize = 256 * 1024;

/// Asks nginx what it serves, on a connection of its own.
///
/// # Errors
/// [`NginxError::NoAnswer`], saying what was seen instead.
pub(super) async fn ask(socket: &Path, how: Ask) -> Result<Edited, NginxError> {
    let silent = |why: String| NginxError::NoAnswer { socket: socket.to_owned(), why };
    let deadline = how.deadline();
    let answer = tokio::time::timeout(deadline, async {
        let stream = UnixStream::connect(socket).await.map_err(|error| unreachable(&error))?;
        get(stream).await
    });
    let body = match answer.await {
        Ok(answer) => answer.map_err(silent)?,
        Err(_) => return Err(silent(format!("no answer within {deadline:?}"))),
    };
    serde_json::from_slice(&body)
        .map_err(|error| silent(format!("its answer is not ours: {error}")))
}

/// Removes a socket that a killed nginx left behind, on which the next one could not listen.
/// One that somebody listens on stays.
///
/// # Errors
/// When something that is no socket is in its place, or it cannot be removed.
pub(super) async fn clear_stale(socket: &Path) -> Result<(), NginxError> {
    let refused = |why: String| NginxError::Socket { socket: socket.to_owned(), why };
    match std::fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error.to_string())),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(refused("it is not a socket; remove it".to_owned()));
        }
        Ok(_) => {}
    }
    match connect(socket).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(socket)
                .map_err(|error| refused(format!("nobody listens on it, but removing it: {error}")))
        }
        _ => Ok(()),
    }
}

/// Whether somebody listens on `socket`, even if it is too busy to answer.
pub(super) async fn is_held(socket: &Path) -> bool {
    let busy = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
    connect(socket).await.map_or_else(|error| busy.contains(&error.kind()), |_| true)
}

async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let connecting = UnixStream::connect(socket);
    match tokio::time::timeout(Ask::Quick.deadline(), connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn get(stream: UnixStream) -> Result<Bytes, String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = Request::get(PROOF_PATH)
        .header(hyper::header::HOST, "aibk")
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(text)?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}: another server is there", response.status()));
        }
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    };
    // The connection has to be driven while it is asked; that it ends first is no failure.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

fn unreachable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such socket; nginx has not loaded our file (is it included in `http`?), \
             or the socket was deleted while nginx ran, which the next rollout mends"
                .to_owned()
        }
        io::ErrorKind::ConnectionRefused => "nobody listens on it".to_owned(),
        _ => error.to_string(),
    }
}
