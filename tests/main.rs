//! Scenarios: the real binaries against real nginx and real uvicorn, one file per concept.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    clippy::missing_errors_doc,
    missing_docs,
    unreachable_pub,
    reason = "this is a test: it fails by panicking, and nobody reads its interface elsewhere"
)]

mod backup;
mod canary;
mod changed_settings;
mod cli;
mod containment;
mod control_socket;
mod convoy;
mod crash;
mod daemon;
mod dependencies;
mod deploy;
mod doctor;
mod draining;
mod failover;
mod fd_store;
mod flat;
mod flip;
mod following;
mod health;
mod hold;
mod hundred;
mod jobs;
mod load;
mod logs;
mod meddling;
mod migration;
mod nginx;
mod nginx_faults;
mod pid_one;
mod plan;
mod policy;
mod reexec;
mod releases;
mod reload;
mod replaced_script;
mod requests;
mod rollout;
mod runtime_dir;
mod setup;
mod spared;
mod supervision;
mod support;
mod systemd;
mod workers;
