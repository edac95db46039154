//! What is said and heard where an operator manages what runs beside rollouts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::Rollout;
use crate::ident::InstanceId;

/// Body of `POST /v1/reset-failed`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetFailed {
    /// The only instance to forget the deaths of; none: every one that has failed.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub instance: Option<InstanceId>,
}

/// Answer of `POST /v1/reset-failed`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Forgiven {
    /// The instances that had failed and are stopped now.
    pub instances: Vec<String>,
}

/// Answer of `POST /v1/instances/{instance}/reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadedInstance {
    /// Which instance.
    pub instance: String,
    /// What it was told: `SIGHUP`, or `POST /reload`.
    pub by: String,
    /// What was seen then: `alive 1s later`, or `answered 204 No Content`.
    pub observed: String,
}

/// Body of `POST /v1/services/{service}/enable` and `/disable`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enable {
    /// Also start it, or stop it.
    #[serde(default)]
    pub now: bool,
    /// Stop it although requests are lost (`T1`).
    #[serde(default)]
    pub force: bool,
}

/// Answer of `POST /v1/services/{service}/enable` and `/disable`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Enablement {
    /// Which service.
    pub service: String,
    /// It comes up with its host.
    pub enabled: bool,
    /// What starts or stops it now, where that was asked for.
    pub rollout: Option<Rollout>,
}
