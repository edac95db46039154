//! A PostgreSQL server of a test's own, in a temporary directory.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::unistd::{User, geteuid};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{LONG, Output, Ports, Running, kill, run, wait_for};

/// `env.py` of a chain of Alembic's on such a database, each revision in a transaction of its own.
pub const ALEMBIC_ENV: &str = "
import os
from alembic import context
from sqlalchemy import create_engine
url = os.environ['DATABASE_URL'].replace('+asyncpg', '+psycopg')
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url).connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
";

/// As which role an application speaks to it, and its password: one that has to be quoted, both in
/// a URL and in a `PGPASSFILE`.
pub const ROLE: &str = "shop";
/// See [`ROLE`].
pub const PASSWORD: &str = r"hunter2:\@/";

/// A running server with a role that may make databases and owns one, which is called as it is.
#[derive(Debug)]
pub struct Postgres {
    /// On 127.0.0.1, where a password is asked for.
    pub port: u16,
    server: Option<Running>,
    programs: PathBuf,
    /// PostgreSQL does not run as root.
    user: Option<User>,
    _ports: Ports,
    directory: TempDir,
}

impl Postgres {
    /// Makes one and starts it.
    pub fn started() -> Self {
        let directory = tempfile::Builder::new().prefix("aibk-pg-").tempdir_in("/tmp").unwrap();
        let user = geteuid().is_root().then(unprivileged);
        if let Some(user) = &user {
            chown(directory.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        let mut ports = Ports::default();
        let port = ports.take();
        let (server, programs) = (None, programs());
        let mut all = Self { port, server, programs, user, _ports: ports, directory };
        all.make();
        all.start();
        let role = format!("CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{PASSWORD}'");
        all.sql("postgres", &role);
        all.sql("postgres", &format!("CREATE DATABASE {ROLE} OWNER {ROLE}"));
        all
    }

    fn make(&self) {
        let mut initdb = self.program("initdb");
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--username=postgres"]);
        initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256", "-D"]);
        run(initdb.arg(self.data()), LONG).expect(0);
    }

    /// Starts it where it was stopped.
    #[track_caller]
    pub fn start(&mut self) {
        let mut postgres = self.program("postgres");
        let sockets = self.directory.path().display().to_string();
        postgres.arg("-D").arg(self.data()).args(["-k", &sockets, "-p", &self.port.to_string()]);
        // What is tested is not whether a disk keeps what it was given.
        postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        postgres.args(["-c", "shared_buffers=16MB", "-c", "max_connections=30"]);
        let log = self.directory.path().join("log");
        self.server = Some(Running::start_logged(&mut postgres, &log));
        wait_for("PostgreSQL to answer", LONG, || {
            (self.query("postgres", "SELECT 1").status == Some(0)).then_some(())
        });
    }

    /// Ends it: whoever is connected is cut off.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut server = self.server.take().expect("the server runs");
        kill(server.pid(), Signal::INT);
        server.status(LONG);
    }

    /// Runs `statement` as the superuser, and gives what it says.
    #[track_caller]
    pub fn sql(&self, database: &str, statement: &str) -> String {
        self.query(database, statement).expect(0).stdout.trim().to_owned()
    }

    fn query(&self, database: &str, statement: &str) -> Output {
        self.begun(database, statement).end(Duration::from_secs(30))
    }

    /// Begins to run `statement` as the superuser; it is ended when it is dropped.
    pub fn begun(&self, database: &str, statement: &str) -> Running {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-U", "postgres", "-v", "ON_ERROR_STOP=1"]);
        psql.arg("-h").arg(self.directory.path()).args(["-p", &self.port.to_string()]);
        Running::start(psql.args(["-d", database, "-c", statement]))
    }

    /// Every database that somebody made, in order.
    pub fn databases(&self) -> Vec<String> {
        let made = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> \
                    'postgres' ORDER BY datname";
        self.sql("postgres", made).lines().map(str::to_owned).collect()
    }

    /// The URL of the application's database, as SQLAlchemy has it.
    pub fn url(&self) -> String {
        let password = "hunter2:%5C%40/";
        format!("postgresql+asyncpg://{ROLE}:{password}@127.0.0.1:{}/{ROLE}", self.port)
    }

    /// Where its programs are.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A program of the server, as the user that it may run as.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(self.directory.path()).env("LC_ALL", "C");
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.is_some() && !std::thread::panicking() {
            self.stop();
        } else if let Some(server) = &self.server {
            // `Running` kills what is left, but its children would outlive it.
            kill(server.pid(), Signal::QUIT);
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("-- PostgreSQL's log\n{log}");
        }
    }
}

/// Debian's package keeps the server's programs out of PATH.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL; see tests/run");
    let mut all: Vec<PathBuf> =
        versions.map(|version| version.unwrap().path().join("bin")).collect();
    all.retain(|bin| bin.join("initdb").exists());
    all.sort();
    all.pop().expect("PostgreSQL's server; see tests/run")
}

fn unprivileged() -> User {
    let find = |name| User::from_name(name).ok().flatten();
    find("postgres").or_else(|| find("nobody")).expect("a user who is not root")
}
