//! nginx: what it is asked to serve, how that is published, and the proof that it does.

mod binary;
mod blocking;
mod compare;
mod drain;
mod error;
mod error_log;
mod extras;
mod flag;
mod flip;
mod flipping;
mod followers;
mod master;
mod meant;
mod mend;
mod owned_file;
mod plan;
mod preview;
mod proof;
mod publish;
mod reload;
mod render;
mod requests;
mod resite;
mod serving;
mod snippet;
mod upgrade;
mod upstream;
mod version;
mod write;

use std::{
    ffi::OsString,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::sync::{Mutex, OnceCell};

pub use self::{
    error::NginxError,
    flip::{Flag, Flip, Switch},
    mend::Mended,
    proof::PROOF_PATH,
    publish::PUBLISH_WITHIN,
    render::{Proxied, Site, reached},
    requests::{Count, Logged, Lost, Mark, Side, Tally, Times, Try, Uncounted, Whose},
    serving::{Observed, Serving},
    snippet::{Lack, Lacking, Snippet},
    upstream::*,
    version::{Unsupported, Version},
    write::Written,
};
use self::{
    extras::Sparing,
    followers::Followers,
    master::Master,
    meant::Meant,
    proof::Ask,
    render::{Places, SocketPath},
    requests::Logging,
};

use crate::{
    config,
    ident::{Port, ServiceName},
};

/// The whole configuration of the nginx of `config`, as `nginx -T` prints it once it has tested it.
///
/// # Errors
/// In its own words, when it refuses that; or why it cannot be asked.
pub async fn dump(config: &config::Nginx) -> Result<String, NginxError> {
    binary::dump(config).await
}

/// What keeps an instance from being drained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draining {
    /// Workers from before a reload that are still alive, with their master or without.
    pub old_workers: Vec<i32>,
    /// Established connections to the instance.
    pub connections: usize,
    /// For how long the oldest of them has been seen, in whole seconds; it may be older.
    pub oldest: Duration,
}

/// For how long it is waited that an instance is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Whatever is open then.
    pub deadline: Duration,
    /// After this no longer for what is open, as long as nobody can begin a request (`T2`).
    pub grace: Option<Duration>,
}

impl From<Duration> for Patience {
    fn from(deadline: Duration) -> Self {
        Self { deadline, grace: None }
    }
}

impl Draining {
    /// Nothing is left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.old_workers.is_empty() && self.connections == 0
    }
}

/// The nginx of this host. Changes of the owned file are serialized inside.
#[derive(Debug)]
pub struct Nginx {
    config: config::Nginx,
    /// Replaced as a whole, by [`Nginx::resite`].
    site: RwLock<Arc<Site>>,
    /// Held by whoever changes the file: the newest edition given out by this daemon.
    last: Mutex<Edition>,
    /// What nginx was last seen to serve: for when it cannot be asked and the file is gone.
    seen: RwLock<Option<Edited>>,
    version: OnceCell<Version>,
    /// Old workers that choose by a flag.
    followers: std::sync::Mutex<Followers>,
    /// What the flags are meant to say.
    meant: std::sync::Mutex<Meant>,
    logging: Logging,
    sparing: Sparing,
}

impl Nginx {
    /// The nginx of `config` in front of the services of `site`. Reads nothing yet.
    #[must_use]
    pub fn new(config: config::Nginx, site: Site) -> Arc<Self> {
        let (last, version) = (Mutex::default(), OnceCell::new());
        let (site, seen) = (RwLock::new(Arc::new(site)), RwLock::default());
        let (followers, meant) = Default::default();
        let logging = Logging::new(config.request_log.clone());
        let sparing = Sparing::new(config.keepalive_min_timeout);
        Arc::new(Self { config, site, last, seen, version, followers, meant, logging, sparing })
    }

    /// Checks that this nginx knows everything that the services' upstreams ask for, and that the
    /// proof socket can stand in its configuration. Asks the executable once, then remembers.
    ///
    /// # Errors
    /// Names the directive, the version that has it, and what to do; or why it cannot be asked.
    pub async fn check(&self) -> Result<Version, NginxError> {
        SocketPath::new(&self.config.proof_socket)?;
        let has = *self.version.get_or_try_init(|| binary::version(&self.config.binary)).await?;
        match self.site().values().find_map(|proxied| has.lacks(&proxied.options)) {
            Some(what) => Err(NginxError::TooOld { has, what }),
            None => Ok(has),
        }
    }

    /// What the owned file says; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and is not ours or cannot be read.
    pub fn on_disk(&self) -> Result<Option<Edited>, NginxError> {
        Ok(owned_file::read(&self.config.file)?.map(|disk| disk.edited))
    }

    /// Asks the running nginx, once.
    ///
    /// # Errors
    /// When it does not run, or does not answer within a second.
    pub async fn observe(&self) -> Result<Observed, NginxError> {
        serving::observe(self, Ask::Quick).await
    }

    /// What nginx serves, for who acts on it (`S3`). An answer is returned at once. Without one it
    /// asks again for about 3 s, so that a busy nginx, or one that is being restarted, is not taken
    /// for a silent one; only that no nginx runs is certain at the first look.
    ///
    /// # Errors
    /// When there is no nginx and the file is not ours or cannot be read; when the pid file names
    /// something that is not nginx; when the kernel cannot be asked.
    pub async fn serving(&self) -> Result<Serving, NginxError> {
        serving::serving(self).await
    }

    /// Whether the file says what nginx serves. If not (`S3`, `T4`), a change was cut short between
    /// the two or somebody else changed the file, and nginx's next start or reload would serve
    /// something else: publish again. A file that cannot be read does not agree. Only edition and
    /// members are compared, so that changed settings of a service are no disagreement.
    #[must_use]
    pub fn disk_agrees(&self, served: &Edited) -> bool {
        self.on_disk().is_ok_and(|disk| disk.as_ref() == Some(served))
    }

    /// What disagrees between the file, the configuration and what nginx was just seen to serve,
    /// in words (`S3`); `None` when nothing does.
    #[must_use]
    pub fn problem_of(&self, observed: &Observed) -> Option<String> {
        let disk = match owned_file::read(&self.config.file) {
            Ok(disk) => disk,
            Err(error) => return Some(error.to_string()),
        };
        let expected = disk.as_ref().and_then(|disk| self.expected(&disk.edited));
        let served = &observed.served;
        let problem =
            compare::problem(&self.config.file, disk.as_ref(), served, expected.as_deref());
        let upgrading = || upgrade::beside(Master(observed.master)).ok().flatten();
        problem.or_else(|| upgrading().map(|upgrading| upgrading.to_string()))
    }

    /// The edition of the file that is, in its very bytes, what the configuration makes of its
    /// members; `None` when it is not, or there is no file.
    fn as_configured(&self) -> Result<Option<Edition>, NginxError> {
        let disk = owned_file::read(&self.config.file)?;
        let same =
            |disk: &owned_file::OnDisk| self.expected(&disk.edited).as_ref() == Some(&disk.text);
        Ok(disk.filter(same).map(|disk| disk.edited.edition))
    }

    /// The file as it would be written for `edited`, where it can be.
    fn expected(&self, edited: &Edited) -> Option<String> {
        render::render(edited, &self.site(), self.places().ok()?).ok()
    }

    /// What the owned file names on the host.
    fn places(&self) -> Result<Places<'_>, NginxError> {
        let proof = SocketPath::new(&self.config.proof_socket)?;
        let spare_idle = self.sparing.time(self.version.get().copied());
        Ok(Places { proof, requests: self.logging.path(), spare_idle })
    }

    /// Writes the file for the next start of nginx with `upstreams` in it, unless it already says
    /// this. Tells nginx nothing and proves nothing, but lets it test its configuration: all
    /// services that a site needs must be in one write.
    ///
    /// # Errors
    /// [`NginxError::Clash`] when nginx refuses its configuration because of the file, which is
    /// as before then; when the file cannot be written, or nginx would refuse it for its version
    /// or members.
    pub async fn write(&self, upstreams: &Upstreams) -> Result<Written, NginxError> {
        let write = || write::write(self, upstreams).boxed();
        let written = self.or_without(write).await?;
        match &written.warning {
            Some(error) if self.gives_up_over(error) => write().await,
            _ => Ok(written),
        }
    }

    /// Makes nginx serve `members` for `service`, and proves that it does (`T3`). Returns at once
    /// when it already does. Must be awaited to its end: dropped, it may leave the file published
    /// and unproved, which [`Nginx::disk_agrees`] tells and the next publish mends.
    ///
    /// An nginx that runs and has never read our file ([`Serving::Silent`]) is published to in the
    /// same way. A file that says something else than nginx serves is written again, and nginx
    /// reloaded, even if nginx already serves `members`.
    ///
    /// # Errors
    /// When nginx refused or does not run; the previous file is back then, and proved as far as
    /// nginx had been told. Only [`NginxError::NotUndone`] leaves it open what is served.
    pub async fn publish(
        &self,
        service: &ServiceName,
        members: &Members,
    ) -> Result<Edition, NginxError> {
        let change = [(service.clone(), members.clone())].into();
        self.or_without(|| publish::publish(self, &change).boxed()).await
    }

    /// From now on it is in front of the services of `site`: what it serves is published by their
    /// settings, `added` with them, and what `site` does not name leaves the file. Where no nginx
    /// runs, the file is written for its next start.
    ///
    /// # Errors
    /// As [`Nginx::publish`] and [`Nginx::write`]; everything is as before then, but for
    /// [`NginxError::NotUndone`].
    pub async fn resite(&self, site: Site, added: &Upstreams) -> Result<(), NginxError> {
        self.or_without(|| resite::resite(self, site.clone(), added).boxed()).await
    }

    fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes nginx serve what the file says with new workers, and proves that it does: the old ones
    /// close the connections they keep. Must be awaited to its end, as
    /// [`Nginx::publish`].
    ///
    /// # Errors
    /// As [`Nginx::publish`].
    pub async fn renew(&self) -> Result<Edition, NginxError> {
        self.or_without(|| publish::renew(self).boxed()).await
    }

    /// `nginx -t`: its own words.
    ///
    /// # Errors
    /// When the test failed.
    pub async fn test(&self) -> Result<String, NginxError> {
        binary::test(&self.config).await
    }

    /// Puts right what somebody else did to flags, to the owned file, to the proof socket, and to the
    /// pid file where `own` is the master that is ours. Says what that was. A file that is not ours any more is
    /// left alone. Must be awaited to its end, as [`Nginx::publish`].
    ///
    /// # Errors
    /// As [`Nginx::publish`] and [`Nginx::write`].
    pub async fn mend(&self, own: Option<i32>) -> Result<Vec<Mended>, NginxError> {
        mend::mend(self, own).await
    }

    fn remember(&self, served: &Edited) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        *seen = Some(served.clone());
    }

    fn recall(&self) -> Option<Edited> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What nginx's configuration, as it is on disk, lacks for the services behind it.
    ///
    /// # Errors
    /// When nginx refuses its configuration or may not read it, so that it cannot be looked at.
    pub async fn lacks(&self) -> Result<Vec<Lack>, NginxError> {
        let dump = binary::dump(&self.config).await?;
        Ok(snippet::lacks(&dump, &self.config.file, &self.site(), self.logging.path()))
    }

    /// The configuration is accepted, and switches services as we do.
    async fn accepts(&self) -> Result<(), NginxError> {
        let lacks = self.lacks().await?;
        match lacks.into_iter().find(|lack| lack.what.is_fatal()) {
            Some(lack) => Err(NginxError::Site { lack }),
            None => Ok(()),
        }
    }

    /// Waits until `port` is drained, at most for `patience`; calls `tell` with each change. What is
    /// left then is returned.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn drain(
        &self,
        port: Port,
        patience: impl Into<Patience>,
        tell: &(dyn Fn(&Draining) + Send + Sync),
    ) -> Result<Draining, NginxError> {
        drain::drain(self, port, patience.into(), tell).await
    }

    /// Argument vector that starts a managed nginx in the foreground.
    #[must_use]
    pub fn command(&self) -> Vec<OsString> {
        let mut argv = vec![self.config.binary.clone().into()];
        argv.extend(binary::location(&self.config));
        argv.extend(["-g".into(), "daemon off;".into()]);
        argv
    }

    /// The running master. Workers that lost theirs go on serving, and are told of.
    async fn master(&self) -> Result<Master, NginxError> {
        match Master::find(&self.config.pid_file) {
            Ok(master) => Ok(master),
            Err(error) => match upgrade::begun(self) {
                Some(upgrading) => Err(upgrading),
                None => Err(self.bereaved(error).await),
            },
        }
    }

    async fn bereaved(&self, error: NginxError) -> NginxError {
        let socket = &self.config.proof_socket;
        match error {
            NginxError::NotRunning { why } if proof::is_held(socket).await => {
                NginxError::Orphans { why, socket: socket.clone() }
            }
            error => error,
        }
    }
}
