//! What the control socket says of one instance, and why it is as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::InstanceStatus;

/// `GET /v1/instances/{instance}/explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The instance as `status` has it.
    pub instance: InstanceStatus,
    /// Seconds since it got into its state, as far as this daemon has seen.
    pub since_s: f64,
    /// Why it is in its state.
    pub why: String,
    /// What it is asked.
    pub checks: Vec<CheckStatus>,
}

/// What an instance is asked, and its last answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckStatus {
    /// `startup`, `ready` or `live`.
    pub question: String,
    /// How it is asked, and what is expected.
    pub asks: String,
    /// Seconds between two questions.
    pub interval_s: Option<f64>,
    /// Seconds that one answer may take.
    pub timeout_s: Option<f64>,
    /// Successes in a row that count.
    pub successes: u32,
    /// Failures in a row that count; none where only a deadline does.
    pub failures: Option<u32>,
    /// The last answers, newest first.
    pub answers: Vec<ProbeAnswer>,
}

/// One answer to a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeAnswer {
    /// Which start was asked.
    pub generation: u64,
    /// Seconds since it was there.
    pub ago_s: f64,
    /// Milliseconds it took.
    pub took_ms: f64,
    /// It was a yes.
    pub ok: bool,
    /// What was seen.
    pub said: String,
}
