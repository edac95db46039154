#![allow(clippy::indexing_slicing, reason = "a panic here is a failed test")]

mod client;
mod fake;
mod hostile;
mod routes;
mod socket;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::fake::Fake;
use super::{Limits, Server, client::Client};
use crate::config::Control;

/// Nothing in these tests takes this long.
const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("took too long")
}

/// A server on a socket of its own.
struct Running {
    dir: TempDir,
    ops: Arc<Fake>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

fn control(dir: &TempDir) -> Control {
    Control {
        socket: dir.path().join("run/control.sock"),
        group: None,
        grants: std::collections::BTreeMap::new(),
    }
}

impl Running {
    fn start(limits: Limits) -> Self {
        let dir = TempDir::new().unwrap();
        let ops = Arc::new(Fake::default());
        let server = Server::bind(&control(&dir), None, Arc::clone(&ops) as _, limits).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(server.run(shutdown.clone()));
        Self { dir, ops, shutdown, task }
    }

    fn socket(&self) -> PathBuf {
        control(&self.dir).socket
    }

    fn client(&self) -> Client {
        Client::new(self.socket())
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    async fn end(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap();
    }
}

/// Sends `request` and reads until the server closes.
async fn talk(stream: &mut UnixStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    read_all(stream).await
}

async fn read_all(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match soon(stream.read(&mut piece)).await {
            // A server that closes with our bytes unread resets the connection; what it said
            // comes first.
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&piece[..n]),
        }
    }
    String::from_utf8(answer).unwrap()
}
