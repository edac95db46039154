//! Why a deploy was not begun, found, or cancelled.

use crate::{
    backup::BackupError,
    ident::{AppName, RolloutId},
    rollout::EngineError,
    store::StoreError,
};

/// Why a deploy was not begun, found, or cancelled.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// No such application.
    #[error("there is no application `{0}`")]
    NoApp(AppName),
    /// It does not say where its code comes from.
    #[error("apps.{0} has no `source`, so there is nothing to deploy from")]
    NoSource(AppName),
    /// Another one is under way.
    #[error("{0}")]
    Busy(String),
    /// The daemon is ending, and leaves what is under way to its successor.
    #[error("aibkd is ending")]
    Ending,
    /// There is no such release, or it cannot be brought back.
    #[error("{0}")]
    NoRelease(String),
    /// What there is cannot be looked at.
    #[error("{0}")]
    Unseen(String),
    /// Something about its dumps.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// What its steps wrote cannot be read.
    #[error("{0}")]
    NoOutput(String),
    /// It is past its point of no return, or over.
    #[error("deploy {0} cannot be cancelled: {1}")]
    TooLate(RolloutId, &'static str),
    /// What its services are cannot be seen.
    #[error(transparent)]
    Rollout(#[from] EngineError),
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds of it cannot be understood (`S4`).
    #[error("deploy {0} in the store cannot be read: {1}")]
    Unreadable(RolloutId, String),
}
