//! A PostgreSQL database, as its own client programs speak to it.
//!
//! They are children with an argument vector and a deadline. What they connect with stands in
//! their environment (`PG*`), a password in a file of its own ([`PassFile`]), never in an argument.

mod error;
mod facts;
mod lock;
mod passfile;

use std::{
    ffi::OsString,
    path::PathBuf,
    time::{Duration, Instant},
};

pub use self::{
    error::PostgresError,
    facts::{Facts, Table, identifier, literal},
    passfile::PassFile,
};
use crate::{
    config::{App, Endpoint},
    ident::{InstanceId, ServiceName, Slot},
    process::{Errand, Exit, Files, Launcher, SpawnSpec, Stream},
    sys::confine::Confinement,
};

/// How long a server may take to answer to a connection, in seconds.
const CONNECT: &str = "10";

/// The most that is kept of a program's complaints, in bytes.
const WORDS: usize = 4096;

/// The most that is kept of a program's output, in bytes: the contents of a dump of a hundred
/// thousand objects.
const OUTPUT: usize = 16 * 1024 * 1024;

/// What the programs find in their PATH, where the configuration does not say where they are.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The database of one application, until a deadline.
#[derive(Debug)]
pub struct Postgres<'a> {
    launcher: &'a Launcher,
    app: &'a App,
    endpoint: Endpoint,
    password: Option<PassFile>,
    of: InstanceId,
    until: Instant,
}

/// A run of one of the programs.
#[derive(Debug)]
pub struct Program<'a> {
    /// `pg_dump`, `pg_restore` or `psql`.
    pub name: &'static str,
    /// Its arguments; no secret is among them.
    pub args: &'a [OsString],
    /// The database that it speaks to, where that is not the application's.
    pub database: Option<&'a str>,
    /// What it reads and writes.
    pub files: Files,
}

impl<'a> Postgres<'a> {
    /// Reads where the database of `app` is. Everything has to be done within `within`.
    ///
    /// # Errors
    /// When its env file does not tell, or the file for the password cannot be written.
    pub async fn open(
        launcher: &'a Launcher,
        app: &'a App,
        within: Duration,
    ) -> Result<Self, PostgresError> {
        let endpoint = app.endpoint()?;
        let password = match &endpoint.password {
            Some(secret) => Some(PassFile::write(secret, app.user.as_deref()).await?),
            None => None,
        };
        let name = ServiceName::new(app.name.as_str()).map_err(PostgresError::Name)?;
        let (of, until) = (InstanceId::new(name, Slot::Sole), Instant::now() + within);
        Ok(Self { launcher, app, endpoint, password, of, until })
    }

    /// The name of the application's database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.endpoint.name
    }

    /// What is left of the deadline.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Runs `program` to its end, and gives what it wrote to its standard output.
    ///
    /// # Errors
    /// When it is not there, does not end in time, or ends with anything but 0: with its own words.
    pub async fn run(&self, program: Program<'_>) -> Result<String, PostgresError> {
        let Program { name, args, database, files } = program;
        let spec = self.spec(name, args, database)?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut hear = |stream, piece: &[u8]| match stream {
            Stream::Stdout => keep(&mut out, piece, OUTPUT),
            Stream::Stderr => keep(&mut err, piece, WORDS),
        };
        let errand = Errand { of: &self.of, name, spec: &spec, within: self.left(), files };
        let exit = self.launcher.run_between(errand, &mut hear).await?;
        let words = String::from_utf8_lossy(&err).trim().to_owned();
        match exit {
            Some(Exit::Code(0)) => Ok(String::from_utf8_lossy(&out).into_owned()),
            Some(exit) => Err(PostgresError::Failed { program: name, exit, words }),
            None => Err(PostgresError::Late { program: name, words }),
        }
    }

    /// Runs `statements` one after another with psql, each in a transaction of its own.
    ///
    /// # Errors
    /// The first one that fails ends it, with the server's own words.
    pub async fn query(
        &self,
        database: Option<&str>,
        statements: &[&str],
    ) -> Result<String, PostgresError> {
        self.psql(database, &[], statements).await
    }

    /// Runs `statements` in one transaction.
    ///
    /// # Errors
    /// As [`Postgres::query`]; nothing was changed then.
    pub async fn transact(
        &self,
        database: Option<&str>,
        statements: &[&str],
    ) -> Result<String, PostgresError> {
        self.psql(database, &["--single-transaction"], statements).await
    }

    async fn psql(
        &self,
        database: Option<&str>,
        options: &[&str],
        statements: &[&str],
    ) -> Result<String, PostgresError> {
        let plain = ["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only"];
        let strict = ["--set", "ON_ERROR_STOP=1"];
        let commands = statements.iter().flat_map(|statement| ["--command", statement]);
        let all = plain.into_iter().chain(strict).chain(options.iter().copied()).chain(commands);
        let args: Vec<OsString> = all.map(OsString::from).collect();
        let files = Files::default();
        self.run(Program { name: "psql", args: &args, database, files }).await
    }

    fn spec(
        &self,
        name: &'static str,
        args: &[OsString],
        database: Option<&str>,
    ) -> Result<SpawnSpec, PostgresError> {
        let missing = || PostgresError::Missing { program: name };
        let found = self.app.database.as_ref().and_then(|database| database.program(name));
        let mut command = vec![found.ok_or_else(missing)?.into_os_string()];
        command.extend_from_slice(args);
        Ok(SpawnSpec {
            argv: command,
            env: self.environment(database),
            directory: PathBuf::from("/"),
            user: self.app.user.clone(),
            group: self.app.group.clone(),
            confinement: Confinement::default(),
            listener: None,
        })
    }

    fn environment(&self, database: Option<&str>) -> Vec<(OsString, OsString)> {
        let Endpoint { host, port, name, user, password: _, tls } = &self.endpoint;
        let mut env: Vec<(&str, OsString)> = vec![
            ("PATH", PATH.into()),
            // Messages are shown as they are, but a list is read.
            ("LC_ALL", "C.UTF-8".into()),
            ("PGCONNECT_TIMEOUT", CONNECT.into()),
            ("PGAPPNAME", "aibk".into()),
            ("PGDATABASE", database.unwrap_or(name).into()),
        ];
        env.extend(host.as_ref().map(|host| ("PGHOST", host.into())));
        env.extend(port.map(|port| ("PGPORT", port.to_string().into())));
        env.extend(user.as_ref().map(|user| ("PGUSER", user.into())));
        env.extend(self.password.as_ref().map(|file| ("PGPASSFILE", file.path().into())));
        env.extend(tls.iter().map(|(name, value)| (*name, value.into())));
        env.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }
}

fn keep(kept: &mut Vec<u8>, more: &[u8], most: usize) {
    let room = most.saturating_sub(kept.len());
    kept.extend(more.iter().take(room));
}
