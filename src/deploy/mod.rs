//! Deploys: new code of an application, from where it is kept to where it serves.
//!
//! [`plan`] turns a deploy and the observed world into the next step, [`record`] is what is durable of
//! it, `hands` are the steps' effects, `drive` is the loop, and `engine` knows those under way. The
//! services get the release by rollouts.

mod drive;
mod engine;
mod error;
mod hands;
mod history;
mod keeping;
mod making;
mod order;
mod output;
pub mod plan;
#[cfg(test)]
mod plan_tests;
mod pruning;
pub mod record;
mod report;
mod retention;
mod rolling;
mod schema;
mod words;

pub use engine::{Apps, Asked, Engine};
pub use error::DeployError;
pub use keeping::Pin;
pub use pruning::Prune;
