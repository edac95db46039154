//! nginx: what it is asked to serve, how that is published, and the proof that it does.

mod upstream;

use std::{sync::Arc, time::Duration};

pub use upstream::*;

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
    /// Workers from before a reload that are still alive.
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

/// Why a publish did not happen.
#[derive(Debug, thiserror::Error)]
pub enum NginxError {
    /// placeholder until the room is built
    #[error("{0}")]
    Other(String),
}

/// The nginx of this host. Publishes are serialized inside.
#[derive(Debug)]
pub struct Nginx {
    #[allow(dead_code)]
    config: config::Nginx,
}

impl Nginx {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(
        _config: config::Nginx,
        _options: std::collections::BTreeMap<ServiceName, config::UpstreamOptions>,
    ) -> Arc<Self> {
        todo!()
    }

    /// What the owned file says; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and is not ours or cannot be read.
    pub fn on_disk(&self) -> Result<Option<Edited>, NginxError> {
        todo!()
    }

    /// Asks the running nginx.
    ///
    /// # Errors
    /// When it does not run, or does not answer.
    pub async fn observe(&self) -> Result<Observed, NginxError> {
        todo!()
    }

    /// Writes the file for the next start of nginx, unless it already says this.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn write(
        &self,
        _service: &ServiceName,
        _members: &Members,
    ) -> Result<Edition, NginxError> {
        todo!()
    }

    /// Makes nginx serve `members` for `service`, and proves that it does (`T3`).
    ///
    /// # Errors
    /// When nginx refused; the previous file is back and proved then.
    pub async fn publish(
        &self,
        _service: &ServiceName,
        _members: &Members,
    ) -> Result<Edition, NginxError> {
        todo!()
    }

    /// `nginx -t`: its own words.
    ///
    /// # Errors
    /// When the test failed.
    pub async fn test(&self) -> Result<String, NginxError> {
        todo!()
    }

    /// What still keeps `port` from being drained (`T2`).
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn draining(&self, _port: Port) -> Result<Draining, NginxError> {
        todo!()
    }

    /// Waits until `port` is drained, at most `deadline`; calls `tell` with each change.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn drain(
        &self,
        _port: Port,
        _deadline: Duration,
        _tell: &(dyn Fn(&Draining) + Send + Sync),
    ) -> Result<Draining, NginxError> {
        todo!()
    }

    /// Argument vector that starts a managed nginx in the foreground.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        todo!()
    }
}
