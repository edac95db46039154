//! One application's place: where its releases are made and kept.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Account, Failure, FileError, How, Tell, Trusted, Untrusted,
    error::file,
    output::{Censor, Lines},
};
use crate::{
    config::{App, EnvFileError, Variables, load_env_file},
    ident::{InstanceId, ServiceName, Slot},
    process::{Exit, Launcher, SpawnSpec, Stream},
    sys::confine::Confinement,
};

/// Where programs are looked for.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names what is run for a release: one at a time, and what an earlier daemon left is ended first.
const ERRAND: &str = "release";

/// What stdout of a program may come to, where it is an answer.
const LONGEST_ANSWER: usize = 64 << 20;

/// Below the application's home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The application's home.
    pub home: PathBuf,
    /// A bare repository of git: a cache, made anew when it is gone.
    pub mirror: PathBuf,
    /// Environments, by the hash of what went into them.
    pub venvs: PathBuf,
    /// Releases, by id.
    pub releases: PathBuf,
    /// What releases share.
    pub shared: PathBuf,
    /// Archives that were sent, until their deploys have ended.
    pub uploads: PathBuf,
    /// The link to the release that serves.
    pub current: PathBuf,
}

/// Where releases of one application are made and kept.
#[derive(Debug, Clone)]
pub struct Workshop {
    pub(super) app: Arc<App>,
    launcher: Arc<Launcher>,
    /// On whose behalf programs are run.
    name: Option<InstanceId>,
    /// What is where.
    pub places: Places,
}

/// A program that is run for a release.
pub(super) struct Task<'t> {
    /// For the operator: `git fetch`.
    pub(super) what: String,
    pub(super) argv: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) directory: &'t Path,
    pub(super) within: Duration,
    pub(super) censor: &'t Censor,
}

impl Workshop {
    /// Of `app`.
    #[must_use]
    pub fn new(app: &Arc<App>, launcher: &Arc<Launcher>) -> Self {
        let home = app.home.clone();
        let places = Places {
            mirror: home.join("mirror.git"),
            venvs: home.join("venvs"),
            releases: app.code.releases.clone(),
            shared: home.join("shared"),
            uploads: home.join("uploads"),
            current: home.join("current"),
            home,
        };
        // Both kinds of names have one rule.
        let name = ServiceName::new(app.name.as_str()).ok();
        let name = name.map(|name| InstanceId::new(name, Slot::Sole));
        Self { app: Arc::clone(app), launcher: Arc::clone(launcher), name, places }
    }

    /// The application's variables, as its env file says now.
    pub(super) fn variables(&self) -> Result<Variables, EnvFileError> {
        self.app.env_file.as_deref().map_or_else(|| Ok(Variables::new()), load_env_file)
    }

    /// Makes what is missing of the directories, the daemon's own.
    pub(super) fn furnish(&self) -> Result<(), FileError> {
        let Places { home, venvs, releases, shared, .. } = &self.places;
        for place in [home, venvs, releases, shared] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(place);
            made.map_err(file("create", place))?;
        }
        Ok(())
    }

    /// Whether nobody else may put something into our directories, or rename them: we may be root.
    pub(super) fn check_places(&self) -> Result<(), Untrusted> {
        let trusted = Trusted::by_app(&self.app);
        for place in [&self.places.home, &self.places.releases] {
            let real = place.canonicalize();
            let real = real.map_err(|source| Untrusted::Unseen { path: place.clone(), source })?;
            trusted.check(&real)?;
        }
        Ok(())
    }

    /// Runs `task`; every line it writes is told.
    pub(super) async fn run(&self, task: Task<'_>, tell: Tell<'_>) -> Result<(), Failure> {
        let mut lines = [Lines::new(task.censor), Lines::new(task.censor)];
        let [out, err] = &mut lines;
        let mut hear = |stream, piece: &[u8]| match stream {
            Stream::Stdout => out.take(piece, tell),
            Stream::Stderr => err.take(piece, tell),
        };
        let ended = self.errand(&task, &mut hear).await;
        out.finish(tell);
        err.finish(tell);
        let said = lines.into_iter().flat_map(Lines::last).collect();
        judge(task, ended, said)
    }

    /// Runs `task` for what it writes to its standard output; the rest is told.
    pub(super) async fn ask(&self, task: Task<'_>, tell: Tell<'_>) -> Result<Vec<u8>, Failure> {
        let (mut answer, mut err) = (Vec::new(), Lines::new(task.censor));
        let mut hear = |stream, piece: &[u8]| match stream {
            Stream::Stdout if answer.len() < LONGEST_ANSWER => answer.extend_from_slice(piece),
            Stream::Stdout => {}
            Stream::Stderr => err.take(piece, tell),
        };
        let ended = self.errand(&task, &mut hear).await;
        err.finish(tell);
        judge(task, ended, err.last()).map(|()| answer)
    }

    async fn errand(
        &self,
        task: &Task<'_>,
        hear: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> Result<Exit, How> {
        let spec = SpawnSpec {
            argv: task.argv.clone(),
            env: task.env.clone(),
            directory: task.directory.to_owned(),
            user: self.app.user.clone(),
            group: self.app.group.clone(),
            confinement: Confinement::default(),
            listener: None,
        };
        let never = |error| How::Never(Box::new(error));
        let Some(name) = &self.name else { return Err(How::Ended(Exit::Unknown)) };
        let ended = self.launcher.run_heard(name, ERRAND, &spec, task.within, hear).await;
        ended.map_err(never)?.ok_or(How::Late(task.within))
    }

    /// Ends what an earlier daemon may have left running for a release.
    pub(super) async fn quiet(&self) -> Result<(), Failure> {
        let Some(name) = &self.name else { return Ok(()) };
        self.launcher.end_errand(name, ERRAND).await.map_err(|error| Failure {
            what: "what an earlier build left running".to_owned(),
            how: How::Never(Box::new(error)),
            said: Vec::new(),
        })
    }
}

fn judge(task: Task<'_>, ended: Result<Exit, How>, said: Vec<String>) -> Result<(), Failure> {
    match ended {
        Ok(Exit::Code(0)) => Ok(()),
        Ok(exit) => Err(Failure { what: task.what, how: How::Ended(exit), said }),
        Err(how) => Err(Failure { what: task.what, how, said }),
    }
}

/// What every program gets: nothing of the daemon's own.
pub(super) fn environment(account: &Account) -> BTreeMap<OsString, OsString> {
    let Account { name, home } = account;
    BTreeMap::from([
        ("HOME".into(), home.into()),
        ("LANG".into(), "C.UTF-8".into()),
        ("LOGNAME".into(), name.into()),
        ("PATH".into(), PATH.into()),
        ("USER".into(), name.into()),
    ])
}

/// Those of the application's variables whose names begin with one of `prefixes`, and those that lead
/// through a proxy.
pub(super) fn meant_for<'v>(
    variables: &'v Variables,
    prefixes: &'v [&str],
) -> impl Iterator<Item = (OsString, OsString)> + 'v {
    const PROXIES: &[&str] = &["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
    let meant = |name: &str| {
        PROXIES.contains(&name.to_ascii_lowercase().as_str())
            || ["SSL_CERT_FILE", "SSL_CERT_DIR"].contains(&name)
            || prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    let pair = |(name, value): (&'v String, &'v crate::config::Secret)| {
        (OsString::from(name), OsString::from(value.expose()))
    };
    variables.iter().filter(move |(name, _)| meant(name)).map(pair)
}

/// Does `work` away from the daemon's only thread.
pub(super) async fn away<T: Send + 'static, E: From<FileError> + Send + 'static>(
    place: &Path,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(file("finish the work in", place)(io::Error::other(error)).into()),
    }
}
