//! aibk: a supervisor for the applications of one host.
//!
//! The rooms and what each may know are described in `ARCHITECTURE.md`.

pub mod api;
pub mod backup;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod deploy;
pub mod doctor;
pub mod ident;
pub mod instance;
pub mod job;
pub mod latest;
mod mailbox;
pub mod migration;
pub mod nginx;
pub mod postgres;
pub mod process;
pub mod release;
pub mod rollout;
pub mod setup;
pub mod store;
pub mod sync_point;
pub mod sys;
