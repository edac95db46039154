//! What a rollout is a part of: a deploy has one of each service that it brings a release into. By this
//! they are found again where the daemon died before the deploy wrote them down.

use serde::{Deserialize, Serialize};

use super::{EngineError, engine::Engine, record::Rollout};
use crate::ident::RolloutId;

/// Who asks for rollouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// For people.
    pub by: String,
    /// The deploy that they are a part of.
    pub part_of: Option<PartOf>,
}

/// A deploy, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOf {
    /// Its id.
    pub deploy: RolloutId,
    /// Which way it goes.
    pub direction: Direction,
}

/// Which way the services of a deploy go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the release of the deploy.
    Out,
    /// To what was there before.
    Back,
}

impl From<String> for Asker {
    /// Somebody who is no deploy.
    fn from(by: String) -> Self {
        Self { by, part_of: None }
    }
}

impl Engine {
    /// The rollouts that are this part, in the order in which they were begun.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn parts(&self, part: PartOf) -> Result<Vec<Rollout>, EngineError> {
        let rows = self.kept_of(part.deploy).await?;
        let read: Result<Vec<Rollout>, _> = rows.iter().map(Rollout::read).collect();
        Ok(read?.into_iter().filter(|rollout| rollout.part_of == Some(part)).collect())
    }
}
