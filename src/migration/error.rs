//! What can go wrong with migrations.

use crate::{
    config::EnvFileError,
    ident::AppName,
    postgres::PostgresError,
    process::{Exit, ProcessError},
};

/// A schema that cannot be brought to what a release needs, or was not.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// Nothing says how.
    #[error("application {0} has no `migrate`; describe it under `apps.{0}.migrate`")]
    NotConfigured(AppName),
    /// Several revisions are the last.
    #[error("the release has more than one head: {}; merge them (alembic merge heads)", .0.join(", "))]
    Heads(Vec<String>),
    /// A revision follows one that is not there.
    #[error("revision {revision} follows {missing}, which the release does not have; add its file")]
    Broken {
        /// Which one.
        revision: String,
        /// What it follows.
        missing: String,
    },
    /// Each follows another.
    #[error("the revisions of the release go in a circle; correct their down_revision")]
    Circle,
    /// The database is further than the release, or elsewhere.
    #[error(
        "the database is at revision {at}, which the release does not know (it leads to {}); \
         deploy code that knows it, or go back with the code that made it", heads.join(", ")
    )]
    Unknown {
        /// The database's.
        at: String,
        /// The release's.
        heads: Vec<String>,
    },
    /// The tool said something else than it should.
    #[error("`{command}` printed a line that cannot be read: {line}")]
    Unreadable {
        /// What was run.
        command: String,
        /// What it said.
        line: String,
    },
    /// The tool failed.
    #[error("`{command}` {}: {words}", exit.told())]
    Failed {
        /// What was run.
        command: String,
        /// How it ended.
        exit: Exit,
        /// The end of what it said.
        words: String,
    },
    /// The tool took too long.
    #[error("`{command}` was not done in time and was ended: {words}; see `migrate.deadline`")]
    Late {
        /// What was run.
        command: String,
        /// The end of what it said.
        words: String,
    },
    /// It did not do all that it should.
    #[error(
        "the migration failed, and the database is at {}: {cause}\n{advice}",
        if at.is_empty() { "no revision".to_owned() } else { at.join(", ") }
    )]
    Stopped {
        /// Where the database is now.
        at: Vec<String>,
        /// Why.
        cause: Box<MigrationError>,
        /// What to do.
        advice: &'static str,
    },
    /// It failed, and does not tell what it has done.
    #[error(
        "the migration failed, and where the database is cannot be told, because `migrate.current` is not \
         set: {cause}\n{advice}"
    )]
    Untold {
        /// Why.
        cause: Box<MigrationError>,
        /// What to do.
        advice: &'static str,
    },
    /// It ended well, and is not where it should be.
    #[error("the migration ended well, but the database is at {}, not at {}", at.join(", "), wanted.join(", "))]
    Elsewhere {
        /// Where it is.
        at: Vec<String>,
        /// Where it should be.
        wanted: Vec<String>,
    },
    /// A command of the operator's has no way back.
    #[error("only Alembic can go back; restore a dump instead (aibkctl backup restore)")]
    NoWayBack,
    /// The database's own programs failed.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A program cannot be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The env file cannot be read.
    #[error(transparent)]
    EnvFile(#[from] EnvFileError),
}
