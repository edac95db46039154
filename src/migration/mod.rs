//! Migrations of an application's schema: what is pending, what that does to those who use it
//! meanwhile, and bringing the database there or back.
//!
//! Alembic is run from the release's own environment, as the application's user, with the
//! application's variables. Its answers are read strictly ([`chain`]), its SQL by a real parser
//! ([`lint`], [`effect`]).

pub mod chain;
pub mod effect;
mod error;
pub mod lint;
mod script;
mod tool;

use std::path::Path;

use self::tool::Tooling;
pub use self::{
    chain::{Chain, Revision},
    effect::{Breach, Effect},
    error::MigrationError,
    lint::{Hazard, Warning},
    tool::python_of,
};
use crate::{
    config::{App, Tool},
    postgres::Postgres,
    process::{Launcher, Stream},
};

/// Names the lock that a migration holds in its database.
const LOCK: &str = "aibk migration";

/// Where the code of a release is, and its Python.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The release's directory.
    pub directory: &'a Path,
    /// Its environment's Python.
    pub python: &'a Path,
}

/// What a release would do to the schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// Where the database is.
    pub current: Vec<String>,
    /// Where the release leads; empty where that is not known.
    pub heads: Vec<String>,
    /// What would be run, first to last.
    pub revisions: Vec<Revision>,
    /// What somebody should look at.
    pub warnings: Vec<Warning>,
    /// The tool does not tell what is pending, so it has to be run in any case.
    pub unknown: bool,
}

impl Pending {
    /// A migration has to be run.
    #[must_use]
    pub fn needs_migration(&self) -> bool {
        self.unknown || !self.revisions.is_empty()
    }
}

/// Hears what the tool says, as it comes: pieces, not lines.
pub type Hear<'a> = &'a mut (dyn FnMut(Stream, &[u8]) + Send);

/// What the release at `at` would do to the schema of `app`. Changes nothing.
///
/// # Errors
/// A chain that cannot be followed; a database that is elsewhere; a tool that fails.
pub async fn check(
    launcher: &Launcher,
    app: &App,
    at: At<'_>,
    hear: Hear<'_>,
) -> Result<Pending, MigrationError> {
    let mut tooling = Tooling::new(launcher, app, at, hear)?;
    match &tooling.migrate.tool {
        Tool::Alembic { .. } => {
            let chain = Chain::read(&tooling.alembic(&["history"]).await?)?;
            let current = tooling.current().await.map_err(|e| chain.stranger(e))?;
            let revisions = chain.pending(&current)?;
            let sql = if revisions.is_empty() {
                String::new()
            } else {
                let from = match current.as_slice() {
                    [] => BASE.to_owned(),
                    several => several.join(","),
                };
                tooling.alembic(&["upgrade", &format!("{from}:head"), "--sql"]).await?
            };
            let warnings = lint::lint(&sql);
            Ok(Pending { current, heads: chain.heads(), revisions, warnings, unknown: false })
        }
        Tool::Command { plan: None, .. } => {
            let current = tooling.current().await?;
            Ok(Pending { current, unknown: true, ..Pending::default() })
        }
        Tool::Command { plan: Some(plan), .. } => {
            let plan = tooling.command("plan", &plan.clone()).await?;
            let line =
                |line: &str| Revision { id: line.to_owned(), after: vec![], title: String::new() };
            let lines = plan.lines().map(str::trim).filter(|line| !line.is_empty());
            let current = tooling.current().await?;
            Ok(Pending { current, revisions: lines.map(line).collect(), ..Pending::default() })
        }
    }
}

/// The way between two places in a chain, as code sees it that does not know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// What going up it does to the older code.
    pub up: Effect,
    /// What going down it does to the newer code.
    pub down: Effect,
}

/// The name of where a chain begins.
pub const BASE: &str = "base";

/// The way between `low`, where an older release leads ([`BASE`]: it has no revisions), and `high`,
/// where the database of `app` is, by the release at `at`. `None`: that does not know both. Changes
/// nothing.
///
/// # Errors
/// A tool that does not tell its revisions.
pub async fn crossing(
    launcher: &Launcher,
    app: &App,
    at: At<'_>,
    (low, high): (&str, &str),
    hear: Hear<'_>,
) -> Result<Option<Crossing>, MigrationError> {
    let mut tooling = Tooling::new(launcher, app, at, hear)?;
    if matches!(tooling.migrate.tool, Tool::Command { .. }) {
        return Err(MigrationError::NoWayBack);
    }
    let chain = Chain::read(&tooling.alembic(&["history"]).await?)?;
    if !chain.has(high) || !(low == BASE || chain.has(low)) {
        return Ok(None);
    }
    let told = |sql: Result<String, MigrationError>| match sql {
        Ok(sql) => effect::effect(&sql),
        Err(e) => Effect::Unknown(e.to_string()),
    };
    let up = told(tooling.alembic(&["upgrade", &format!("{low}:{high}"), "--sql"]).await);
    let down = told(tooling.alembic(&["downgrade", &format!("{high}:{low}"), "--sql"]).await);
    Ok(Some(Crossing { up, down }))
}

/// The revisions that the database of `app` is at, by the release at `at`.
///
/// # Errors
/// A tool that fails.
pub async fn current(
    launcher: &Launcher,
    app: &App,
    at: At<'_>,
    hear: Hear<'_>,
) -> Result<Vec<String>, MigrationError> {
    Tooling::new(launcher, app, at, hear)?.current().await
}

/// Brings the database of `app` to what the release at `at` needs, and sees that it is there. While
/// it does, it holds a lock in the database that keeps every other migration by aibk out. May be run
/// twice. When this future is dropped, the tool is ended; what it had committed stays.
///
/// # Errors
/// [`MigrationError::Stopped`] tells at which revision the database is.
pub async fn upgrade(
    launcher: &Launcher,
    app: &App,
    at: At<'_>,
    hear: Hear<'_>,
) -> Result<Vec<String>, MigrationError> {
    move_to(launcher, app, at, None, hear).await
}

/// Brings the database of `app` back to `revision`, by the release at `at`, which is the newer one.
///
/// # Errors
/// As [`upgrade`].
pub async fn downgrade(
    launcher: &Launcher,
    app: &App,
    at: At<'_>,
    revision: &str,
    hear: Hear<'_>,
) -> Result<Vec<String>, MigrationError> {
    move_to(launcher, app, at, Some(revision), hear).await
}

async fn move_to(
    launcher: &Launcher,
    app: &App,
    at: At<'_>,
    back_to: Option<&str>,
    hear: Hear<'_>,
) -> Result<Vec<String>, MigrationError> {
    let mut tooling = Tooling::new(launcher, app, at, hear)?;
    let postgres = Postgres::open(launcher, app, tooling.migrate.deadline).await?;
    let moved = postgres.locked(LOCK, tooling.move_to(back_to)).await?;
    let now = tooling.current().await;
    match (moved, now) {
        (Ok(wanted), Ok(at)) if wanted.as_ref().is_none_or(|wanted| *wanted == at) => Ok(at),
        (Ok(wanted), Ok(at)) => {
            Err(MigrationError::Elsewhere { at, wanted: wanted.unwrap_or_default() })
        }
        (Err(cause), Ok(at)) => {
            let advice = "correct the migration and try again, or restore the dump that was made \
                          before it";
            let cause = Box::new(cause);
            if matches!(tooling.migrate.tool, Tool::Command { current: None, .. }) {
                return Err(MigrationError::Untold { cause, advice });
            }
            Err(MigrationError::Stopped { at, cause, advice })
        }
        (Err(cause), Err(_)) => Err(cause),
        (Ok(_), Err(e)) => Err(e),
    }
}
