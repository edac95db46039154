//! Asking an instance whether it is ready.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::timeout,
};

use super::knock;
use crate::process::Door;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A TCP listener.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// Asks once: GET `path` on a fresh connection, any 2xx is yes. The error is a reason for people.
///
/// # Errors
/// The connection, the answer's status, or `within` having passed.
pub(super) async fn http(
    target: &Target,
    path: &str,
    within: Duration,
    door: Option<&Door>,
) -> Result<(), String> {
    let asked = async {
        match target {
            Target::Tcp(address) => {
                let stream = knock::connect(*address, door).await.map_err(|e| reason(&e))?;
                ask(stream, path).await
            }
            Target::Unix(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|e| reason(&e))?;
                ask(stream, path).await
            }
        }
    };
    timeout(within, asked).await.unwrap_or_else(|_| Err(format!("no answer in {within:?}")))
}

async fn ask<S>(stream: S, path: &str) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, concat!("aibkd/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    // The connection is driven here and dropped with the answer: no task outlives a probe.
    let answered = tokio::select! {
        biased;
        answered = &mut answer => answered,
        _ended = &mut connection => answer.await,
    };
    let status = answered.map_err(|e| e.to_string())?.status();
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nobody listens yet".to_owned(),
        std::io::ErrorKind::NotFound => "its socket is not there yet".to_owned(),
        _ => error.to_string(),
    }
}
