//! What is said and heard where an operator manages what runs beside rollouts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
