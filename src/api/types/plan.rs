//! What a rollout would do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Query of `GET /v1/services/{service}/plan`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What would be asked for.
    #[serde(default)]
    pub way: PlanWay,
    /// The port of the instance, for `start`, `stop` and `restart` of a service that has ports.
    #[serde(default)]
    pub port: Option<u16>,
    /// As [`super::Roll::release`].
    #[serde(default)]
    pub release: Option<String>,
    /// As [`super::Roll::force`] and [`super::Act::force`].
    #[serde(default)]
    pub force: bool,
    /// As [`super::Roll::hold`].
    #[serde(default)]
    pub hold: bool,
}

/// Query of `GET /v1/plan`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanTogether {
    /// As [`super::RollTogether::way`].
    #[serde(default)]
    pub way: super::TogetherWay,
    /// As [`super::RollTogether::services`], with commas between them.
    #[serde(default)]
    pub services: String,
    /// As [`super::Roll::force`].
    #[serde(default)]
    pub force: bool,
}

/// What can be foreseen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanWay {
    /// A rolling update.
    #[default]
    Rolling,
    /// A swap of the colours.
    Swap,
    /// The way back to the colour that a swap has left warm.
    Rollback,
    /// The start of an instance.
    Start,
    /// The stop of one.
    Stop,
    /// The restart of one.
    Restart,
}

/// What a rollout would do, were it begun now: `GET /v1/services/{service}/plan`. Nothing is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// What kind: `rolling`, `swap`, `rollback`, `start`, `stop`, `restart`.
    pub kind: String,
    /// Whose.
    pub service: String,
    /// The instance it is about, for `start`, `stop` and `restart`.
    pub instance: Option<String>,
    /// Release it would bring into service, where it brings one.
    pub release: Option<String>,
    /// The rollout that holds the service now, since when, at which step. What is planned is as if
    /// that had come to what it means to.
    pub held: Option<String>,
    /// Its steps in order, where nothing fails.
    pub steps: Vec<PlannedStep>,
    /// Which of `steps`, counted from 0, is the first from which there is no way back; none: each
    /// can be undone.
    pub no_return: Option<usize>,
    /// Seconds it takes at most, if nothing fails.
    pub deadline_s: f64,
    /// Requests may be lost over it, as `force` accepts, or because nothing is well anyway.
    pub lossy: bool,
}

/// One step that a rollout would take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStep {
    /// `start`, `await-ready`, `publish`, `watch`, `hold`, `drain`, `stop`, `replace`, `dismiss`.
    pub name: String,
    /// What it acts on: `api@8001`, or the members published.
    pub on: String,
    /// Seconds it takes at most.
    pub deadline_s: f64,
    /// What would be done to undo everything if it failed here, in order; none: nothing would.
    pub undo: Option<Vec<Undo>>,
}

/// A step by which something is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Undo {
    /// As [`PlannedStep::name`].
    pub name: String,
    /// As [`PlannedStep::on`].
    pub on: String,
}
