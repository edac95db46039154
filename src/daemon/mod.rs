//! The house, assembled: what `aibkd` is made of, in the order in which it comes up and goes down.

mod backup_views;
mod backups;
mod boot;
mod calm;
mod deploys;
mod enable;
mod error;
mod estate;
mod explain;
mod jobs;
mod journal;
mod logs;
mod lookout;
mod manage;
mod managed_nginx;
mod muster;
mod named;
mod operations;
mod order;
mod plan;
mod problems;
mod reexec;
mod reload;
mod request_log;
mod requests;
mod rise;
mod roster;
mod shutdown;
mod site;
mod status;
mod strays;
mod streams;
mod systemd;
mod tasks;
mod together;
mod uploads;
mod views;

use std::{
    path::Path,
    sync::{Arc, OnceLock, Weak},
    time::Instant,
};

pub use error::DaemonError;
pub use estate::Estate;
pub use reexec::{Handover, check_state};
pub use site::{check_host, snippet};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    reexec::Successor,
    shutdown::{Asked, Goal, Sign},
};
use crate::{
    api::{Heir, Limits, Server, operations::Operations},
    config::Config,
    deploy,
    instance::{Ground, Instance},
    nginx::Nginx,
    process::{Keeper, Shelf},
    rollout::Engine,
    store::Store,
};

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    config: reload::Loaded,
    config_path: String,
    began: Instant,
    /// When it began, in microseconds since the epoch.
    since: i64,
    /// The host's boot.
    boot: String,
    store: Store,
    ground: Ground,
    engine: Engine,
    deploys: deploy::Engine,
    nginx: Option<Arc<Nginx>>,
    /// The instance that nginx itself is, where aibk runs it.
    managed_nginx: Option<Instance>,
    /// Set once every rollout that an earlier daemon left goes on; until then none may begin.
    resumed: OnceLock<()>,
    /// Why services are not started yet.
    waits: rise::Waits,
    /// The program that is to take this one's place.
    replaced: watch::Sender<Option<Successor>>,
    /// Itself, for what goes on by itself.
    me: OnceLock<Weak<Daemon>>,
    disabled: enable::Disabled,
    /// Commands that run to their end; the rest is the engine's.
    jobs: roster::Roster,
    /// What goes on for applications.
    tasks: tasks::Tasks,
    /// One of them begins at a time.
    task_turn: tokio::sync::Mutex<()>,
    /// An application was changed.
    apps_changed: watch::Sender<()>,
}

/// How the daemon's process came to be what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It was started.
    Beginning,
    /// It took the place of another program, and is known to systemd.
    Succeeding,
}

/// How a daemon ended.
#[derive(Debug)]
pub enum Ended {
    /// As it was told to.
    Told,
    /// Another program is to take its place, now.
    Replaced(Handover),
}

/// Runs a daemon by the configuration at `path`, until it is told to stop.
///
/// # Errors
/// Whatever keeps it from coming up. Once it is up, it ends only on SIGTERM or SIGINT, or for
/// another program.
pub async fn run(path: &Path, estate: Estate) -> Result<Ended, DaemonError> {
    let Estate { control, kept } = estate;
    let life = if control.is_some() { Life::Succeeding } else { Life::Beginning };
    let config = Config::load(path)?;
    let desk = Arc::<systemd::Desk>::default();
    let keeper = systemd::listens().then(|| Arc::clone(&desk) as Arc<dyn Keeper>);
    let shelf = Shelf::new(kept, keeper);
    let (daemon, journal) = boot::assemble(config, path, shelf).await?;
    let daemon = Arc::new(daemon);
    daemon.me.get_or_init(|| Arc::downgrade(&daemon));
    let signals = shutdown::Signals::listen()?;
    tokio::spawn(reload::on_hangup(Arc::clone(&daemon), shutdown::hangup()?));
    crate::sys::exec::let_signals_in();
    let operations: Arc<dyn Operations> = daemon.clone();
    let access = &daemon.config.now().control;
    let server = Server::bind(access, control, operations, Limits::default())?;
    let (heir, caretaker) = (server.heir()?, server.caretaker());
    let closing = CancellationToken::new();
    let serving = tokio::spawn(server.run(closing.clone()));
    let mut systemd = systemd::Link::begin(&daemon, life, desk);
    let booted = tokio::spawn(Arc::clone(&daemon).bring_up());
    let looking = CancellationToken::new();
    daemon.look_out(caretaker, looking.clone());
    let asked = signals.wait_for(booted, daemon.replaced.subscribe(), &systemd).await;
    looking.cancel();
    let ended = match asked {
        Ok(asked) => Ok(daemon.end(asked, &mut systemd, heir).await),
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

impl Daemon {
    async fn end(self: &Arc<Self>, asked: Asked, systemd: &mut systemd::Link, heir: Heir) -> Ended {
        match asked {
            Asked::End(sign) => {
                self.end_by(sign, systemd).await;
                Ended::Told
            }
            Asked::Replace(successor) => {
                systemd.reloading();
                self.leave_everything().await;
                let listeners = self.ground.shelf.listeners();
                Ended::Replaced(Handover::new(successor, heir.keep(), listeners))
            }
        }
    }

    async fn end_by(self: &Arc<Self>, sign: Sign, systemd: &mut systemd::Link) {
        let job = systemd::job::ours().await;
        let (goal, sign) = (shutdown::goal(sign, &job), sign.word());
        systemd.stopping(goal);
        match goal {
            Goal::StopAll => {
                self.record("daemon.stopping", format!("aibkd stops everything: {sign}"));
                self.stop_everything().await;
                self.record("daemon.stopped", "aibkd has stopped everything".to_owned());
            }
            Goal::Leave => {
                let why = match job {
                    systemd::job::Job::Unknown(why) => format!(", and it is not known why: {why}"),
                    _ => " without an order to stop the unit".to_owned(),
                };
                let message = format!("aibkd ends: {sign}{why}; the applications run on");
                self.record("daemon.leaving", message);
                self.leave_everything().await;
            }
        }
    }
}
