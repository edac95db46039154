//! nginx: what it is asked to serve, how that is published, and the proof that it does.

mod binary;
mod blocking;
mod compare;
mod drain;
mod error;
mod error_log;
mod master;
mod owned_file;
mod plan;
mod proof;
mod publish;
mod reload;
mod render;
mod upstream;
mod version;

use std::{ffi::OsString, sync::Arc, time::Duration};

use tokio::sync::{Mutex, OnceCell};

pub use self::{
    error::NginxError,
    proof::PROOF_PATH,
    render::{Proxied, Site},
    upstream::*,
    version::{Unsupported, Version},
};
use self::{
    master::{Master, Workers},
    proof::Cleared,
    render::SocketPath,
};

use crate::{
    config,
    ident::{Port, ServiceName},
};

/// What nginx answered, and what its processes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What the proof socket says is served.
    pub served: Edited,
    /// The master process.
    pub master: i32,
    /// Workers that accept connections.
    pub workers: Vec<i32>,
    /// Workers that are shutting down: old ones, which may still send to any former member.
    pub leaving: Vec<i32>,
}

/// What keeps an instance from being drained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draining {
    /// Workers from before a reload that are still alive, with their master or without.
    pub old_workers: Vec<i32>,
    /// Established connections to the instance.
    pub connections: usize,
}

impl Draining {
    /// Nothing is left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.old_workers.is_empty() && self.connections == 0
    }
}

/// The nginx of this host. Changes of the owned file are serialized inside.
#[derive(Debug)]
pub struct Nginx {
    config: config::Nginx,
    site: Site,
    /// Held by whoever changes the file: the newest edition given out by this daemon.
    last: Mutex<Edition>,
    version: OnceCell<Version>,
}

impl Nginx {
    /// The nginx of `config` in front of the services of `site`. Reads nothing yet.
    #[must_use]
    pub fn new(config: config::Nginx, site: Site) -> Arc<Self> {
        let (last, version) = (Mutex::default(), OnceCell::new());
        Arc::new(Self { config, site, last, version })
    }

    /// Checks that this nginx knows everything that the services' upstreams ask for, and that the
    /// proof socket can stand in its configuration. Asks the executable once, then remembers.
    ///
    /// # Errors
    /// Names the directive, the version that has it, and what to do; or why it cannot be asked.
    pub async fn check(&self) -> Result<Version, NginxError> {
        SocketPath::new(&self.config.proof_socket)?;
        let has = *self.version.get_or_try_init(|| binary::version(&self.config.binary)).await?;
        match self.site.values().find_map(|proxied| has.lacks(&proxied.options)) {
            Some(what) => Err(NginxError::TooOld { has, what }),
            None => Ok(has),
        }
    }

    /// What the owned file says; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and is not ours or cannot be read.
    pub fn on_disk(&self) -> Result<Option<Edited>, NginxError> {
        Ok(owned_file::read(&self.config.file)?.map(|disk| disk.edited))
    }

    /// The text of the owned file; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and is not ours or cannot be read.
    pub fn text(&self) -> Result<Option<String>, NginxError> {
        Ok(owned_file::read(&self.config.file)?.map(|disk| disk.text))
    }

    /// Asks the running nginx.
    ///
    /// # Errors
    /// When it does not run, or does not answer.
    pub async fn observe(&self) -> Result<Observed, NginxError> {
        let master = self.master().await?;
        let served = proof::ask(&self.config.proof_socket).await?;
        let Workers { accepting, leaving } = master.workers()?;
        Ok(Observed { served, master: master.0, workers: accepting, leaving })
    }

    /// What disagrees between the file, nginx and the configuration, in words (`S3`); `None` when
    /// nothing does.
    pub async fn problem(&self) -> Option<String> {
        let disk = match owned_file::read(&self.config.file) {
            Ok(disk) => disk,
            Err(error) => return Some(error.to_string()),
        };
        let served = match self.observe().await {
            Ok(observed) => observed.served,
            Err(error) => return Some(error.to_string()),
        };
        let expected = disk.as_ref().and_then(|disk| {
            let socket = SocketPath::new(&self.config.proof_socket).ok()?;
            render::render(&disk.edited, &self.site, socket).ok()
        });
        compare::problem(&self.config.file, disk.as_ref(), &served, expected.as_deref())
    }

    /// Writes the file for the next start of nginx, unless it already says this. Tells nginx
    /// nothing and proves nothing.
    ///
    /// # Errors
    /// When the file cannot be written, or nginx would refuse it for its version or members.
    pub async fn write(
        &self,
        service: &ServiceName,
        members: &Members,
    ) -> Result<Edition, NginxError> {
        publish::write(self, service, members).await
    }

    /// Makes nginx serve `members` for `service`, and proves that it does (`T3`). Returns at once
    /// when it already does. Must be awaited to its end: dropped, it may leave the file published
    /// and unproved, which [`Nginx::problem`] tells and the next publish mends.
    ///
    /// # Errors
    /// When nginx refused or does not run; the previous file is back then, and proved as far as
    /// nginx had been told. Only [`NginxError::NotUndone`] leaves it open what is served.
    pub async fn publish(
        &self,
        service: &ServiceName,
        members: &Members,
    ) -> Result<Edition, NginxError> {
        publish::publish(self, service, members).await
    }

    /// `nginx -t`: its own words.
    ///
    /// # Errors
    /// When the test failed.
    pub async fn test(&self) -> Result<String, NginxError> {
        binary::test(&self.config).await
    }

    /// Makes way for the start of an nginx that is known to be dead: removes the proof socket
    /// that a killed one left, on which the next could not listen.
    ///
    /// # Errors
    /// When somebody still listens there, or something else is in its place.
    pub async fn prepare_start(&self) -> Result<(), NginxError> {
        let socket = &self.config.proof_socket;
        match proof::clear_stale(socket).await? {
            Cleared::Free => Ok(()),
            Cleared::Held => Err(NginxError::Socket {
                socket: socket.clone(),
                why: "somebody listens on it: another nginx, or workers whose master died; \
                      end them first"
                    .to_owned(),
            }),
        }
    }

    /// Waits until `port` is drained, at most `deadline`; calls `tell` with each change. What is
    /// left at the deadline is returned.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn drain(
        &self,
        port: Port,
        deadline: Duration,
        tell: &(dyn Fn(&Draining) + Send + Sync),
    ) -> Result<Draining, NginxError> {
        drain::drain(&self.config, port, deadline, tell).await
    }

    /// Argument vector that starts a managed nginx in the foreground.
    #[must_use]
    pub fn command(&self) -> Vec<OsString> {
        let mut argv = vec![self.config.binary.clone().into()];
        argv.extend(binary::location(&self.config));
        argv.extend(["-g".into(), "daemon off;".into()]);
        argv
    }

    /// The running master. Workers that lost theirs go on serving, and are told of.
    async fn master(&self) -> Result<Master, NginxError> {
        let found = Master::find(&self.config.pid_file);
        let socket = &self.config.proof_socket;
        match found {
            Err(NginxError::NotRunning { why }) if proof::ask(socket).await.is_ok() => {
                let orphans = "workers that lost their master still answer on";
                let why = format!("{why}, but {orphans} {}: end them first", socket.display());
                Err(NginxError::NotRunning { why })
            }
            found => found,
        }
    }
}
