//! Applications: deploys, and the releases they leave.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rollout;

/// Body of `POST /v1/apps/{app}/deploy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployHow {
    /// Branch, tag or commit; without it, what the configuration says.
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
    /// How far it goes.
    #[serde(default)]
    pub scope: DeployScope,
}

/// Query of `POST /v1/apps/{app}/deploy/archive`. The body is a `.tar` or `.tar.gz`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveHow {
    /// How far it goes.
    #[serde(default)]
    pub scope: DeployScope,
}

/// How far a deploy goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeployScope {
    /// The database, then the services.
    #[default]
    Full,
    /// The services alone; the database stays as it is.
    CodeOnly,
    /// The database alone.
    MigrateOnly,
    /// A release is made, and what it would change is told; nothing is done with it.
    Look,
}

/// Body of `POST /v1/apps/{app}/rollback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackHow {
    /// The release to go back to; without it, the last good one before the present one.
    #[serde(default)]
    pub to: Option<String>,
    /// Bring the schema back, too, where it is beyond the release.
    #[serde(default)]
    pub db: bool,
    /// Do it although requests may fail: where neither the services nor the schema can go first.
    #[serde(default)]
    pub force: bool,
    /// Tell what it would do, in which order, and do nothing.
    #[serde(default)]
    pub plan: bool,
}

/// Body of what is done to one release of an application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfRelease {
    /// Which.
    #[serde(default)]
    pub release: String,
}

/// An application: `GET /v1/apps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct App {
    /// Its name.
    pub name: String,
    /// Its services, in the order in which they get a release.
    pub services: Vec<String>,
    /// It has a database that can be saved.
    pub database: bool,
    /// When its database is saved, as configured.
    pub schedule: Option<String>,
    /// What goes on for its database: the number of the run.
    pub run: Option<u64>,
    /// The release that whatever starts gets.
    pub current: Option<String>,
    /// The code of it.
    pub code: Option<Code>,
    /// Who brought it into service; none where aibk did not.
    pub by: Option<String>,
    /// RFC 3339: when it was brought into service.
    pub since: Option<String>,
    /// The deploy under way.
    pub rollout: Option<Rollout>,
}

/// A release: `GET /v1/apps/{app}/releases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Its id.
    pub id: String,
    /// The code it was made of.
    pub code: Option<Code>,
    /// RFC 3339: when it was built.
    pub built: Option<String>,
    /// Who asked for it.
    pub by: Option<String>,
    /// What became of it.
    pub state: ReleaseState,
    /// The instances that run it.
    pub runs: Vec<String>,
    /// It is kept whatever comes.
    pub pinned: bool,
    /// Why it is not whole, where it is not.
    pub broken: Option<String>,
}

/// What became of a release, by what was recorded of its deploys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseState {
    /// It is what whatever starts gets.
    Current,
    /// It served once.
    Good,
    /// Its deploy failed.
    Failed,
    /// It never was in service.
    Unused,
}

/// The code of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Code {
    /// The whole id of the commit.
    pub commit: String,
    /// First line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// The branch or tag it was asked for by, where it was.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
}

/// A line that a step of a deploy wrote: `GET /v1/rollouts/{id}/output`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputLine {
    /// As it was written, without secrets.
    pub text: String,
}
