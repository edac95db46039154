//! Running what migrates: Alembic, or a command of the operator's.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{At, Hear, MigrationError, chain};
use crate::{
    config::{App, Migrate, Tool, Variables, load_env_file},
    ident::{InstanceId, ServiceName, Slot},
    postgres::PostgresError,
    process::{Exit, Launcher, SpawnSpec, Stream},
    sys::confine::Confinement,
};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The most that is kept of an answer, in bytes.
const ANSWER: usize = 16 * 1024 * 1024;

/// The end of what a tool said that an error carries, in bytes.
const WORDS: usize = 2000;

/// What migrates the schema of one application, by one release.
pub(super) struct Tooling<'a> {
    launcher: &'a Launcher,
    app: &'a App,
    at: At<'a>,
    pub(super) migrate: &'a Migrate,
    of: InstanceId,
    until: Instant,
    hear: Hear<'a>,
}

impl<'a> Tooling<'a> {
    pub(super) fn new(
        launcher: &'a Launcher,
        app: &'a App,
        at: At<'a>,
        hear: Hear<'a>,
    ) -> Result<Self, MigrationError> {
        let none = || MigrationError::NotConfigured(app.name.clone());
        let migrate = app.migrate.as_ref().ok_or_else(none)?;
        let name = ServiceName::new(app.name.as_str()).map_err(PostgresError::Name)?;
        let of = InstanceId::new(name, Slot::Sole);
        let until = Instant::now() + migrate.deadline;
        Ok(Self { launcher, app, at, migrate, of, until, hear })
    }

    /// Where the database is; nothing where the tool does not tell.
    pub(super) async fn current(&mut self) -> Result<Vec<String>, MigrationError> {
        match &self.migrate.tool {
            Tool::Alembic { .. } => {
                chain::names("alembic current", &self.alembic(&["current"]).await?)
            }
            Tool::Command { current: None, .. } => Ok(vec![]),
            Tool::Command { current: Some(argv), .. } => {
                let answer = self.command("current", argv).await?;
                let lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
                Ok(lines.map(str::to_owned).collect())
            }
        }
    }

    /// Up, or back to a revision; gives where the database should be then, where that is known.
    pub(super) async fn move_to(
        &mut self,
        back_to: Option<&str>,
    ) -> Result<Option<Vec<String>>, MigrationError> {
        match (&self.migrate.tool, back_to) {
            (Tool::Alembic { .. }, None) => {
                let heads = chain::names("alembic heads", &self.alembic(&["heads"]).await?)?;
                self.alembic(&["upgrade", "head"]).await?;
                Ok(Some(heads))
            }
            (Tool::Alembic { .. }, Some(revision)) => {
                self.alembic(&["downgrade", revision]).await?;
                let base = revision == super::BASE;
                Ok(Some(if base { vec![] } else { vec![revision.to_owned()] }))
            }
            (Tool::Command { upgrade, .. }, None) => {
                self.command("command", upgrade).await.map(|_| None)
            }
            (Tool::Command { .. }, Some(_)) => Err(MigrationError::NoWayBack),
        }
    }

    /// Runs `python -m alembic`: its answer.
    pub(super) async fn alembic(&mut self, args: &[&str]) -> Result<String, MigrationError> {
        let Tool::Alembic { config } = &self.migrate.tool else { return Ok(String::new()) };
        // Alembic looks for what its configuration names from where it is run.
        let place = self.at.directory.join(config);
        let directory = place.parent().unwrap_or(self.at.directory).to_owned();
        let name = place.file_name().unwrap_or_default().to_owned();
        let mut command: Vec<OsString> = vec![self.at.python.into(), "-m".into(), "alembic".into()];
        command.extend(["-c".into(), name]);
        command.extend(args.iter().map(OsString::from));
        self.run(&format!("alembic {}", args.join(" ")), command, directory).await
    }

    /// Runs a command of the operator's in the release: its answer.
    pub(super) async fn command(
        &mut self,
        key: &str,
        argv: &[String],
    ) -> Result<String, MigrationError> {
        let argv = argv.iter().map(OsString::from).collect();
        self.run(&format!("migrate.{key}"), argv, self.at.directory.to_owned()).await
    }

    async fn run(
        &mut self,
        command: &str,
        argv: Vec<OsString>,
        directory: PathBuf,
    ) -> Result<String, MigrationError> {
        let spec = SpawnSpec {
            argv,
            env: self.environment()?,
            directory,
            user: self.app.user.clone(),
            group: self.app.group.clone(),
            confinement: Confinement::default(),
            listener: None,
        };
        let (mut answer, mut words) = (Vec::new(), Vec::new());
        let hear = &mut self.hear;
        let mut both = |stream, piece: &[u8]| {
            hear(stream, piece);
            if stream == Stream::Stdout {
                let room = ANSWER.saturating_sub(answer.len());
                answer.extend(piece.iter().take(room));
            }
            words.extend_from_slice(piece);
            let over = words.len().saturating_sub(WORDS);
            words.drain(..over);
        };
        let within = self.until.saturating_duration_since(Instant::now());
        let ran = self.launcher.run_heard(&self.of, "migrate", &spec, within, &mut both);
        let exit = ran.await?;
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        let command = command.to_owned();
        match exit {
            Some(Exit::Code(0)) => Ok(String::from_utf8_lossy(&answer).into_owned()),
            Some(exit) => Err(MigrationError::Failed { command, exit, words }),
            None => Err(MigrationError::Late { command, words }),
        }
    }

    /// The application's own variables, and ours.
    fn environment(&self) -> Result<Vec<(OsString, OsString)>, MigrationError> {
        let variables: Variables = match &self.app.env_file {
            Some(file) => load_env_file(file)?,
            None => Variables::new(),
        };
        let mut env: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), PATH.into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
            ("PGAPPNAME".into(), "aibk".into()),
        ];
        let own = variables.iter().map(|(name, value)| (name.into(), value.expose().into()));
        env.extend(own);
        let millis = |time: Duration| time.as_millis();
        let options = format!(
            "-c lock_timeout={} -c statement_timeout={}",
            millis(self.migrate.lock_timeout),
            millis(self.migrate.statement_timeout)
        );
        // A release is sealed: nothing is written into it.
        let ours = [("PGOPTIONS", options.as_str()), ("PYTHONDONTWRITEBYTECODE", "1")];
        env.extend(ours.map(|(name, value)| (name.into(), value.into())));
        Ok(env)
    }
}

/// Python of the environment that a release at `directory` is linked to.
#[must_use]
pub fn python_of(directory: &Path) -> PathBuf {
    directory.join(".venv/bin/python")
}
