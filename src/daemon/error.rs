//! What keeps a daemon from coming up.

use std::path::PathBuf;

use crate::{
    api::ListenError, config::ConfigError, deploy::DeployError, instance::InstanceError,
    nginx::NginxError, process::ProcessError, rollout::EngineError, store::StoreError,
};

/// Why the daemon did not come up. Nothing was changed that it would not find again.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The control socket.
    #[error(transparent)]
    Server(#[from] ListenError),
    /// Process supervision.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// An instance.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// nginx.
    #[error(transparent)]
    Nginx(#[from] NginxError),
    /// Unfinished rollouts.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Unfinished deploys.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// A directory of ours.
    #[error(
        "cannot make the directory {path}: {source}; make it, or name another in the configuration"
    )]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A defect: it always can be.
    #[error("{0} is not configured any more and cannot be looked after")]
    Forgotten(crate::ident::ServiceName),
    /// Signal handlers.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// A panic, which is told before it.
    #[error("coming up was cut short by a defect of aibkd: {0}; its log has the panic")]
    CutShort(tokio::task::JoinError),
}
