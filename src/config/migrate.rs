//! `migrate` of an application: what brings its schema to what a release needs.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use super::{
    mistake::Wrong,
    scalar::{self, some_time},
    section::Section,
    tree::Node,
};

/// How a schema is migrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrate {
    /// By what.
    pub tool: Tool,
    /// A statement that waits longer for a lock fails: others queue behind it. Told to programs that
    /// use libpq (`PGOPTIONS`).
    pub lock_timeout: Duration,
    /// A statement that takes longer fails; told in the same way.
    pub statement_timeout: Duration,
    /// The longest that a migration takes.
    pub deadline: Duration,
}

/// What migrates a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tool {
    /// Alembic, of the release's own environment.
    Alembic {
        /// Its configuration, in the release.
        config: PathBuf,
    },
    /// Any command, run in the release.
    Command {
        /// Brings the schema to what the release needs; may be run twice.
        upgrade: Vec<String>,
        /// Prints the revisions that the database is at, one a line.
        current: Option<Vec<String>>,
        /// Prints what is pending, one a line; nothing where nothing is.
        plan: Option<Vec<String>>,
    },
}

/// Reads it.
pub(super) fn migrate(s: &mut Section<'_>) -> Option<Migrate> {
    let lock_timeout = s.or("lock_timeout", Duration::from_secs(5), some_time);
    let statement_timeout = s.or("statement_timeout", Duration::from_secs(600), some_time);
    let deadline = s.or("deadline", Duration::from_secs(1800), some_time);
    let command = argv(s, "command");
    let (current, plan) = (argv(s, "current"), argv(s, "plan"));
    let tool = match (s.has("alembic"), s.has("command")) {
        (true, true) => {
            let wrong = Wrong::new("has both `alembic` and `command`");
            s.complain_here(wrong.instead("keep one of the two"));
            None
        }
        (false, false) => {
            let wrong = Wrong::new("has neither `alembic` nor `command`");
            s.complain_here(wrong.instead("write for example `alembic: {config: alembic.ini}`"));
            None
        }
        (true, false) => {
            s.refuse(&["current", "plan"], "Alembic tells this itself");
            let config = s.section("alembic", |s| s.or("config", "alembic.ini".into(), within));
            Some(Tool::Alembic { config })
        }
        (false, true) => command.map(|upgrade| Tool::Command { upgrade, current, plan }),
    };
    Some(Migrate { tool: tool?, lock_timeout, statement_timeout, deadline })
}

/// A path that stays in the release.
fn within(node: &Node) -> Result<PathBuf, Wrong> {
    let path = scalar::path(node)?;
    let stays = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(&path).components().all(stays) {
        return Ok(path);
    }
    let wrong = Wrong::new(format!("{} leads out of the release", path.display()));
    Err(wrong.instead("write where it is in the code"))
}

fn argv(s: &mut Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let argv = s.list(key, scalar::text)?;
    if argv.is_empty() && s.sound() {
        s.complain(key, Wrong::new("is empty").instead("write [program, argument]"));
    }
    Some(argv.into_iter().map(|(_, argument)| argument).collect())
}
