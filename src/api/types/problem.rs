//! Why something was not done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What kind; decides the exit code of `aibkctl`.
    pub code: ProblemCode,
    /// What failed, and on what.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// Kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// The request makes no sense (400).
    BadRequest,
    /// Who asks may not (403).
    Forbidden,
    /// No such thing (404).
    NotFound,
    /// Another rollout holds the service (409).
    Busy,
    /// The state of things forbids it (409).
    Refused,
    /// More than this server reads (413).
    TooLarge,
    /// Too slow (408).
    TooSlow,
    /// Not our fault or not understood (500).
    Failed,
}
