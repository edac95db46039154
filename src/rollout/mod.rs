//! Rollouts: the plan (pure) and the engine that runs it.
//!
//! [`draft`] turns a request into stages, [`plan`] turns a rollout and the observed world into the
//! next step, [`forecast`] plays that to its end, [`record`] is what is durable of it, `effects` are the steps' hands, `begin` and
//! `drive` are the loop's two halves, and `engine` knows those under way. [`convoy`] is several of
//! them in a row.

mod begin;
mod cancel;
#[cfg(test)]
mod checker;
pub mod clients;
pub mod convoy;
mod cover;
mod deadline;
mod dismiss;
pub mod draft;
mod draining;
mod drive;
mod effects;
mod engine;
mod error;
mod evidence;
pub mod forecast;
#[cfg(test)]
mod forecast_tests;
mod hint;
mod history;
pub mod hold;
mod intended;
pub mod judge;
pub mod left;
pub mod part;
pub mod plan;
#[cfg(test)]
mod plan_tests;
mod preflight;
mod presence;
mod reconfigure;
pub mod record;
mod relief;
mod replace;
mod retire;
mod rollback;
mod together;
mod turn;
mod waiting;
mod way_out;
mod words;
pub mod world;

pub use begin::Prospect;
pub(crate) use drive::said;
pub use effects::{Crew, Standing};
pub use engine::{Crews, Engine, Hold};
pub use error::EngineError;
pub use hint::was_serving;
pub use presence::Presence;
