//! What can go wrong between us and PostgreSQL's programs.

use std::{io, path::PathBuf};

use crate::{
    config::DatabaseError,
    ident::InvalidName,
    process::{Exit, ProcessError},
};

/// A program of PostgreSQL that did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Nobody knows where the database is.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// It is not installed.
    #[error("{program} was not found; install postgresql-client, or correct `database.programs`")]
    Missing {
        /// Its name.
        program: &'static str,
    },
    /// It cannot be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It failed.
    #[error("{program} {}{}", exit.told(), told(words))]
    Failed {
        /// Its name.
        program: &'static str,
        /// How it ended.
        exit: Exit,
        /// What it said.
        words: String,
    },
    /// It took too long.
    #[error("{program} was not done in time and was ended{}; see `deadline`", told(words))]
    Late {
        /// Its name.
        program: &'static str,
        /// What it said.
        words: String,
    },
    /// It answered something else than was asked.
    #[error("{program} gave an answer that cannot be read: {why}")]
    Answer {
        /// Its name.
        program: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else has the lock.
    #[error("another migration of this database goes on; wait for its end")]
    Locked,
    /// A password with a line end cannot stand in the file that PostgreSQL's programs read.
    #[error("the password of the database has a line end; correct it in the env file")]
    Password,
    /// The file for the password cannot be written.
    #[error("cannot write {path}, which PostgreSQL's programs read the password from: {source}")]
    PassFile {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The application's name is none.
    #[error(transparent)]
    Name(InvalidName),
}

fn told(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}
