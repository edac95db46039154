//! `database` of an application: where its PostgreSQL is, and as whom one speaks to it.

use std::path::{Path, PathBuf};

use super::{
    App, EnvFileError, Secret, Variables,
    database_url::{self, UrlError},
    find_program, load_env_file,
    mistake::Wrong,
    scalar,
    section::Section,
    service::is_variable,
    tree::Node,
};
use crate::ident::Port;

/// A PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Where it is.
    pub whereabouts: Whereabouts,
    /// Directory of `pg_dump`, `pg_restore` and `psql`; `None`: they are looked up.
    pub programs: Option<PathBuf>,
}

/// What tells where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// This variable of the application's env file, a URL as SQLAlchemy reads it.
    Url {
        /// Its name.
        variable: String,
    },
    /// The configuration.
    Written {
        /// Host, or directory of its socket; `None`: PostgreSQL's own default.
        host: Option<String>,
        /// Port.
        port: Port,
        /// Name of the database.
        name: String,
        /// Role.
        user: Option<String>,
        /// The variable of the application's env file that is the password.
        password: Option<String>,
    },
}

/// A database as it is reached. Its `Debug` hides the password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Host, or directory of its socket.
    pub host: Option<String>,
    /// Port.
    pub port: Option<Port>,
    /// Name of the database.
    pub name: String,
    /// Role.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// What libpq is told of TLS: `PGSSLMODE` and its like.
    pub tls: Vec<(&'static str, String)>,
}

/// Why a database cannot be found. Never contains a value of the env file.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It has none.
    #[error("application {0} has no `database`; describe it under `apps.{0}.database`")]
    NotConfigured(crate::ident::AppName),
    /// Its env file cannot be read.
    #[error(transparent)]
    EnvFile(#[from] EnvFileError),
    /// The variable is not there.
    #[error("env file {path} has no {variable}; add it, or correct `database`")]
    NoVariable {
        /// The file.
        path: PathBuf,
        /// Its name.
        variable: String,
    },
    /// It is no URL of a PostgreSQL database.
    #[error("{variable} in env file {path} {wrong}")]
    Url {
        /// The file.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// What is wrong.
        wrong: UrlError,
    },
}

impl Database {
    /// The program `name` of PostgreSQL's client, if it is there.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        match &self.programs {
            Some(directory) => find_program(&directory.join(name)),
            None => find_program(Path::new(name)),
        }
    }
}

impl App {
    /// Where its database is. Reads its env file.
    ///
    /// # Errors
    /// Names the file and the variable, never a value.
    pub fn endpoint(&self) -> Result<Endpoint, DatabaseError> {
        let none = || DatabaseError::NotConfigured(self.name.clone());
        let database = self.database.as_ref().ok_or_else(none)?;
        let path = self.env_file.clone().unwrap_or_default();
        let variable = |name: &str| {
            let none = || DatabaseError::NoVariable { path: path.clone(), variable: name.into() };
            let variables: Variables = load_env_file(&path)?;
            variables.get(name).cloned().ok_or_else(none)
        };
        match &database.whereabouts {
            Whereabouts::Url { variable: name } => database_url::parse(variable(name)?.expose())
                .map_err(|wrong| DatabaseError::Url {
                    path: path.clone(),
                    variable: name.clone(),
                    wrong,
                }),
            Whereabouts::Written { host, port, name, user, password } => Ok(Endpoint {
                host: host.clone(),
                port: Some(*port),
                name: name.clone(),
                user: user.clone(),
                password: password.as_deref().map(variable).transpose()?,
                tls: vec![],
            }),
        }
    }
}

/// Reads it. `with_env_file`: the application has one.
pub(super) fn database(s: &mut Section<'_>, with_env_file: bool) -> Option<Database> {
    const WRITTEN: &[&str] = &["host", "port", "name", "user", "password_from"];
    let programs = s.path_at("programs");
    let url = s.get("url_from", variable);
    for key in ["url_from", "password_from"] {
        if s.has(key) && !with_env_file {
            let wrong = Wrong::new("names a variable of an env file, and there is none");
            s.complain(key, wrong.instead("write the application's `env_file`"));
        }
    }
    if s.has("url_from") {
        s.refuse(WRITTEN, "`url_from` says it already");
        return Some(Database { whereabouts: Whereabouts::Url { variable: url? }, programs });
    }
    if !s.has("name") {
        let wrong = Wrong::new("has neither `url_from` nor `name`");
        s.complain_here(wrong.instead("write for example `url_from: DATABASE_URL`"));
    }
    let host = s.get("host", scalar::text);
    let user = s.get("user", scalar::text);
    let password = s.get("password_from", variable);
    let usual = Port::new(5432);
    let port = s.get("port", scalar::port).or(usual)?;
    let name = s.get("name", name)?;
    let whereabouts = Whereabouts::Written { host, port, name, user, password };
    Some(Database { whereabouts, programs })
}

fn variable(node: &Node) -> Result<String, Wrong> {
    let given = scalar::text(node)?;
    if is_variable(&given) {
        return Ok(given);
    }
    // It may be the secret itself, so it is not repeated.
    let wrong = Wrong::new("is not the name of a variable");
    Err(wrong.instead("name the variable of the env file, not its value"))
}

fn name(node: &Node) -> Result<String, Wrong> {
    let given = scalar::text(node)?;
    if is_database_name(&given) {
        Ok(given)
    } else {
        let wrong = Wrong::new(format!("`{}` cannot be a database's name", scalar::shown(&given)));
        Err(wrong.instead("use at most 63 bytes, without `=` and `/`"))
    }
}

/// PostgreSQL's programs take a name with `=` or `://` for something else.
pub(super) fn is_database_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && !matches!(c, '=' | '/');
    (1..=63).contains(&name.len()) && !name.starts_with('-') && name.chars().all(plain)
}
