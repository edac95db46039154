//! A control socket whose file somebody has removed: nobody new finds it, so another one is made.

use std::{fs, os::unix::fs::MetadataExt};

use futures_util::FutureExt;
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
};

use super::listen::{ListenError, Listening};

/// What was seen of the socket's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// It is there.
    There,
    /// It was not there; now it is, and listened on.
    MadeAgain,
}

/// Lets a running server look after its socket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caretaker(mpsc::Sender<Errand>);

/// Asked of a server; the answer goes back.
pub(super) type Errand = oneshot::Sender<Result<Socket, ListenError>>;

impl Caretaker {
    pub(super) fn new() -> (Self, mpsc::Receiver<Errand>) {
        let (ask, errands) = mpsc::channel(1);
        (Self(ask), errands)
    }

    /// Whether the server's socket is found under its name; if not, it is made again. Connections
    /// that there are go on.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn see_to_socket(&self) -> Result<Socket, ListenError> {
        let (answer, seen) = oneshot::channel();
        let _ = self.0.send(answer).await;
        // A server that has ended needs no socket.
        seen.await.unwrap_or(Ok(Socket::There))
    }
}

impl Listening {
    /// Makes the socket again where its file is gone or another's; `welcome` gets whoever waits on the
    /// old one.
    pub(super) fn see_to(
        &mut self,
        group: Option<&str>,
        mut welcome: impl FnMut(UnixStream),
    ) -> Result<Socket, ListenError> {
        let file = fs::symlink_metadata(&self.path);
        if file.is_ok_and(|file| file.ino() == self.inode) {
            return Ok(Socket::There);
        }
        let again = self.again(group)?;
        let old = std::mem::replace(self, again);
        while let Some(Ok((stream, _))) = old.listener.accept().now_or_never() {
            welcome(stream);
        }
        Ok(Socket::MadeAgain)
    }
}
