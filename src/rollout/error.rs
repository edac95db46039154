//! Why a rollout was not begun, found, or cancelled.

use super::draft::Refusal;
use crate::{
    ident::{RolloutId, ServiceName},
    nginx::NginxError,
    store::StoreError,
};

/// Why a rollout was not begun, found, or cancelled.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such service.
    #[error("there is no service `{0}`")]
    NoService(ServiceName),
    /// No such rollout.
    #[error("there is no rollout {0}")]
    NoRollout(RolloutId),
    /// `S2`.
    #[error("{0}")]
    Busy(String),
    /// The daemon is ending, and leaves what is under way to its successor.
    #[error("aibkd is ending")]
    Ending,
    /// It would break an invariant.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is past its point of no return, or over.
    #[error("rollout {0} cannot be cancelled: {1}")]
    TooLate(RolloutId, &'static str),
    /// What nginx serves cannot be seen.
    #[error(transparent)]
    Nginx(#[from] NginxError),
    /// There is no release to bring up.
    #[error("{0}")]
    NoRelease(String),
    /// What it would start cannot start: every reason, a line each.
    #[error("{0}")]
    Preflight(String),
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds of it cannot be understood (`S4`).
    #[error("rollout {0} in the store cannot be read: {1}")]
    Unreadable(RolloutId, String),
}
