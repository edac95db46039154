//! The house, assembled: what `aibkd` is made of, in the order in which it comes up and goes down.

mod boot;
mod enable;
mod error;
mod explain;
mod jobs;
mod journal;
mod logs;
mod manage;
mod managed_nginx;
mod muster;
mod named;
mod operations;
mod order;
mod problems;
mod reload;
mod rise;
mod shutdown;
mod status;
mod strays;
mod streams;
mod systemd;
mod views;

use std::{
    path::Path,
    sync::{Arc, OnceLock, Weak},
    time::Instant,
};

pub use error::DaemonError;

use tokio_util::sync::CancellationToken;

use crate::{
    api::{Limits, Server, operations::Operations},
    config::Config,
    instance::{Ground, Instance},
    nginx::Nginx,
    rollout::Engine,
    store::Store,
};

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    config: reload::Loaded,
    config_path: String,
    began: Instant,
    /// The host's boot.
    boot: String,
    store: Store,
    ground: Ground,
    engine: Engine,
    nginx: Option<Arc<Nginx>>,
    /// The instance that nginx itself is, where aibk runs it.
    managed_nginx: Option<Instance>,
    /// Set once every rollout that an earlier daemon left goes on; until then none may begin.
    resumed: OnceLock<()>,
    /// Why services are not started yet.
    waits: rise::Waits,
    /// Itself, for what goes on by itself.
    me: OnceLock<Weak<Daemon>>,
    disabled: enable::Disabled,
    /// Commands that run to their end; the rest is the engine's.
    jobs: jobs::Jobs,
}

/// Runs a daemon by the configuration at `path`, until it is told to stop.
///
/// # Errors
/// Whatever keeps it from coming up. Once it is up, it ends only on SIGTERM or SIGINT.
pub async fn run(path: &Path) -> Result<(), DaemonError> {
    let config = Config::load(path)?;
    let (daemon, journal) = boot::assemble(config, path).await?;
    let daemon = Arc::new(daemon);
    daemon.me.get_or_init(|| Arc::downgrade(&daemon));
    let signals = shutdown::Signals::listen()?;
    let operations: Arc<dyn Operations> = daemon.clone();
    let server = Server::bind(&daemon.config.now().control, operations, Limits::default())?;
    let closing = CancellationToken::new();
    let serving = tokio::spawn(server.run(closing.clone()));
    let mut systemd = systemd::Link::begin(&daemon);
    tokio::spawn(reload::on_hangup(Arc::clone(&daemon), shutdown::hangup()?));
    let booted = tokio::spawn(Arc::clone(&daemon).bring_up());
    let ended = match signals.wait_for(booted, &systemd).await {
        Ok(asked) => {
            systemd.stopping();
            daemon.record("daemon.stopping", format!("aibkd stops: {asked}"));
            daemon.stop_everything().await;
            daemon.record("daemon.stopped", "aibkd has stopped everything".to_owned());
            Ok(())
        }
        // What runs, runs on (`P4`): systemd starts the next daemon, which takes it over.
        Err(e) => {
            systemd.failed(&e);
            daemon.record("daemon.failed", format!("aibkd cannot come up, and ends: {e}"));
            Err(e)
        }
    };
    journal.finish(&daemon.store).await;
    closing.cancel();
    // It ends by its own deadlines; a panic in it was told where it happened.
    let _ = serving.await;
    systemd.finish().await;
    ended
}
