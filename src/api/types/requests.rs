//! What clients saw of a rollout.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients saw of a rollout, by nginx's own log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Requests {
    /// Every request of the service that nginx passed on was counted.
    Counted {
        /// From the beginning of the rollout to its end; without percentiles.
        meanwhile: RequestCount,
        /// In the minute before it.
        before: RequestCount,
        /// From its beginning until nginx was seen to serve its last publish.
        during: RequestCount,
        /// From then until its end.
        after: RequestCount,
    },
    /// They were not counted, for this reason.
    Uncounted(String),
}

/// Requests in one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestCount {
    /// All of them.
    pub requests: u64,
    /// Those that were answered with a 5xx.
    pub failed: u64,
    /// Those for which nginx asked more than one instance.
    pub retried: u64,
    /// Those of which the answer did not reach its end: the client left, or the instance died.
    pub unfinished: u64,
    /// Median time that a client waited; none without requests.
    pub p50_ms: Option<u32>,
    /// 99th percentile of it.
    pub p99_ms: Option<u32>,
    /// Longest time between two answers below 500.
    pub longest_gap_ms: u64,
}
