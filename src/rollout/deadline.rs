//! How long each step may take.

use std::time::Duration;

use super::{
    effects::{Crew, SLACK},
    record::{Kind, Step},
};
use crate::{instance, nginx};

impl Crew {
    /// The longest that `step` takes in a rollout of `kind`. Another service's turn at nginx, and a
    /// full disk, come on top.
    #[must_use]
    pub fn longest(&self, step: &Step, kind: Kind) -> Duration {
        let service = &self.service;
        let ending = service.stop.deadline + SLACK;
        match step {
            Step::Start { .. } => instance::START_WITHIN,
            Step::AwaitReady { .. } => self.patience(kind),
            Step::Publish { .. } => nginx::PUBLISH_WITHIN,
            Step::Watch { .. } => service.rollout.watch,
            Step::Hold { .. } => service.rollout.hold,
            Step::Drain { .. } => service.drain.deadline,
            Step::Stop { .. } | Step::Dismiss { .. } => ending,
            Step::Replace { .. } => {
                instance::START_WITHIN + self.patience(kind) + service.drain.deadline + ending
            }
        }
    }
}
