//! The load generator: a mixed, continuous load over HTTP/1.1 that counts every lost request.
//!
//! It retries nothing: what one client would have seen as an error is counted as one. A kept-alive
//! connection that the server has closed *before* the next request is written is no error, and is
//! replaced, as every client does.

mod clients;
mod failure;
mod http;
mod report;
mod tally;
mod websocket;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::watch;

pub use failure::{Class, Failure};
pub use http::Connection;
pub use report::Report;
pub use tally::{Kind, Progress};

use tally::Tally;

/// What load is made, and on whom.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where everything is sent.
    pub to: SocketAddr,
    /// Keep-alive connections that GET `/`.
    pub gets: usize,
    /// Keep-alive connections that POST `/orders`, each with an id of its own.
    pub posts: usize,
    /// Connections that GET `/slow?seconds=2`.
    pub slow: usize,
    /// Connections that GET `/stream`, whose length is known.
    pub streams: usize,
    /// Websockets that echo.
    pub websockets: usize,
    /// Clients that connect, stay silent for a while, and only then ask.
    pub silent: usize,
    /// How long a silent client stays silent.
    pub silence: Duration,
    /// Between an answer and the next request of the same connection.
    pub pause: Duration,
    /// The longest that one answer may take.
    pub timeout: Duration,
}

impl Plan {
    /// Every kind of request, a few hundred each second: modest enough for two cores.
    pub fn mixed(to: SocketAddr) -> Self {
        Self {
            to,
            gets: 4,
            posts: 2,
            slow: 2,
            streams: 2,
            websockets: 2,
            silent: 0,
            silence: Duration::from_secs(3),
            pause: Duration::from_millis(10),
            timeout: Duration::from_secs(15),
        }
    }

    /// Nothing but `connections` that GET.
    pub fn gets(to: SocketAddr, connections: usize) -> Self {
        let mixed = Self::mixed(to);
        Self { gets: connections, posts: 0, slow: 0, streams: 0, websockets: 0, ..mixed }
    }
}

/// A load under way, on a thread of its own, so that a busy test does not slow it down.
#[derive(Debug)]
pub struct Load {
    tally: Shared,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// The tally, shared between the clients and whoever watches.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<Tally>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Begins to send.
    ///
    /// # Errors
    /// When no thread or runtime is to be had.
    pub fn start(plan: Plan) -> std::io::Result<Self> {
        let tally = Shared(Arc::new(Mutex::new(Tally::new())));
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = tally.clone();
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || runtime.block_on(clients::run(plan, shared, stopped)))?;
        Ok(Self { tally, stop, thread: Some(thread) })
    }

    /// What happened so far.
    pub fn progress(&self) -> Progress {
        self.tally.lock().progress()
    }

    /// Lets every request under way end, sends no more, and reports. `executed` is the file to
    /// which the application wrote one line for each execution of an order.
    ///
    /// # Errors
    /// When `executed` cannot be read.
    pub fn finish(mut self, executed: Option<&Path>) -> std::io::Result<Report> {
        self.end();
        Report::of(&self.tally.lock(), executed)
    }

    fn end(&mut self) {
        if !self.stop.send_replace(true) {
            self.tally.lock().stopping();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}
