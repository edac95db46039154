//! What the operator wrote, read into validated types; and env files.
//!
//! Reading is pure: `tree` gives every key and value its place, `section` reads a mapping key by
//! key and goes on after a mistake, `scalar` reads single values. What only the host can tell
//! (users, directories, programs) is asked apart, by `host`.

mod app;
mod asgi;
mod backup;
mod canary;
pub mod change;
mod claims;
mod code;
mod code_host;
mod database;
mod database_url;
mod depends;
mod env_file;
mod health;
mod host;
mod job;
mod judge;
mod limits;
mod logs;
mod migrate;
mod mistake;
mod model;
mod nginx_path;
mod read;
mod reload;
mod remote;
mod request_log;
mod restart;
mod sandbox;
mod scalar;
mod schedule;
mod secret;
mod section;
mod service;
mod tree;
mod upstream;
mod workers;

pub use app::{App, RollOut};
pub use backup::{Backup, Keep, Upload};
pub use canary::Share;
pub use code::{Code, Deadlines, Hooks, Installer, Origin, Place, Python};
pub use database::{Database, DatabaseError, Endpoint, Whereabouts};
pub use database_url::{UrlError, parse as parse_database_url};
pub use depends::Depends;
pub use env_file::{EnvFileError, LineError, Variables, load_env_file, parse_env};
pub use health::{Check, Header, How, Http, Ready, Sign, Statuses, Thresholds};
pub use host::{Finding, Severity, check_app, check_host, check_service, find_program};
pub use job::Job;
pub use judge::Judge;
pub use logs::{Logs, LogsTo};
pub use migrate::{Migrate, Tool};
pub use mistake::{ConfigError, Mistake, Position};
pub use model::*;
pub use reload::{Reload, ReloadSignal};
pub use remote::{Remote, check_reference};
pub use restart::{Restart, RestartPolicy};
pub use schedule::Schedule;
pub use secret::Secret;
pub use upstream::flip_variable;
pub use workers::{By, Socket, Workers};

#[cfg(test)]
mod tests;
