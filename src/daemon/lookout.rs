//! Looks after what lies in the file system and somebody else may remove or change: the runtime
//! directory, the control socket, the names of FIFOs, the owned file of nginx, its flags and its proof
//! socket. It is told of that (inotify(7)), and asks nobody meanwhile.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Daemon, boot};
use crate::{
    api::{Caretaker, Socket},
    config::{Service, Switch},
    instance::Instance,
    sys::inotify::{Changes, Inotify},
};

/// Who removes one thing removes others with it, so it is waited a moment; longer each time where
/// that goes on.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(30));

/// What could not be mended is tried again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// Looks after a daemon's files.
pub(super) struct Lookout {
    daemon: Arc<Daemon>,
    caretaker: Caretaker,
    inotify: Inotify,
    /// The directory of FIFOs as it was seen last.
    fifos: Option<Stamp>,
    /// So many instances wrote into FIFOs without names then.
    nameless: Option<usize>,
    /// What was told last of what cannot be mended.
    told: Vec<Told>,
}

/// A directory changes it whenever a name comes or goes.
type Stamp = (u64, i64, i64);

/// What was found in one look around.
#[derive(Debug, Default)]
struct Found {
    /// What is well again.
    mended: Vec<Told>,
    /// What is not.
    amiss: Vec<Told>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    kind: &'static str,
    message: String,
}

impl Found {
    fn mended(&mut self, message: String) {
        self.mended.push(Told { kind: "daemon.mended", message });
    }

    fn amiss(&mut self, message: String) {
        self.amiss.push(Told { kind: "daemon.amiss", message });
    }
}

impl Lookout {
    /// Needs a runtime.
    ///
    /// # Errors
    /// When the kernel gives no inotify.
    pub(super) fn new(daemon: Arc<Daemon>, caretaker: Caretaker) -> io::Result<Self> {
        let (fifos, nameless, told) = (None, None, vec![]);
        Ok(Self { daemon, caretaker, inotify: Inotify::new()?, fifos, nameless, told })
    }

    /// Looks after them until `closing`.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        let (mut pause, longest) = PAUSE;
        loop {
            // Before the look, so that nothing that happens after it is missed.
            if let Err(e) = self.watch() {
                tracing::warn!(
                    "it is not noticed any more if somebody removes files of aibkd: {e}"
                );
                return;
            }
            let found = self.look().await;
            let (is_quiet, is_well) = (found.mended.is_empty(), found.amiss.is_empty());
            self.tell(found);
            let changed = async {
                match (is_quiet, is_well) {
                    // What was made again is to be watched, too.
                    (false, _) => Ok(()),
                    (true, true) => self.inotify.changed().await,
                    (true, false) => {
                        tokio::time::timeout(AGAIN, self.inotify.changed()).await.unwrap_or(Ok(()))
                    }
                }
            };
            tokio::select! {
                biased;
                () = closing.cancelled() => return,
                changed = changed => if let Err(error) = changed {
                    tracing::warn!(%error, "cannot look after files of ours any more");
                    return;
                }
            }
            pause = if is_quiet { PAUSE.0 } else { (pause * 2).min(longest) };
            tokio::time::sleep(pause).await;
        }
    }

    fn watch(&mut self) -> io::Result<()> {
        let config = self.daemon.config.now();
        let fifos = fifos(&config.runtime_dir);
        let mut paths = vec![
            (config.runtime_dir.as_path(), Changes::OfItself),
            (fifos.as_path(), Changes::OfEntries),
        ];
        paths.extend(expected(&config.control.socket, Changes::OfItself));
        if let Some(nginx) = &config.nginx {
            paths.extend(expected(&nginx.file, Changes::OfContent));
            paths.extend(expected(&nginx.proof_socket, Changes::OfItself));
            if config.services.values().any(|service| flips(service)) {
                paths.extend(
                    [Changes::OfEntries, Changes::OfArrivals].map(|of| (&*nginx.flags, of)),
                );
            }
        }
        if let (Some(nginx), Some(_)) = (&config.nginx, &self.daemon.managed_nginx) {
            paths.extend(expected(&nginx.pid_file, Changes::OfItself));
        }
        self.inotify.watch(paths)
    }

    async fn look(&mut self) -> Found {
        let mut found = Found::default();
        self.see_to_directories(&mut found);
        match self.caretaker.see_to_socket().await {
            Ok(Socket::There) => {}
            Ok(Socket::MadeAgain) => {
                found.mended("the control socket was removed, and is there again".to_owned());
            }
            Err(e) => found.amiss(format!("the control socket was removed: {e}")),
        }
        self.see_to_fifos(&mut found).await;
        self.see_to_nginx(&mut found).await;
        found
    }

    async fn see_to_nginx(&self, found: &mut Found) {
        let Some(nginx) = &self.daemon.nginx else { return };
        let own = self.daemon.managed_nginx.as_ref().and_then(|own| own.view().identity);
        match nginx.mend(own.map(|who| who.pid)).await {
            Ok(mended) => found.mended.extend(
                mended
                    .iter()
                    .map(|mended| Told { kind: "nginx.mended", message: mended.to_string() }),
            ),
            Err(e) => found.amiss.push(Told { kind: "nginx.amiss", message: e.to_string() }),
        }
    }

    fn see_to_directories(&self, found: &mut Found) {
        let config = self.daemon.config.now();
        let dir = &config.runtime_dir;
        if dir.is_dir() && config.control.socket.exists() && fifos(dir).is_dir() {
            return;
        }
        let is_gone = !dir.is_dir();
        let made = boot::make_dir(dir, 0o750).and_then(|()| boot::open_to_group(&config));
        match made.map_err(|e| e.to_string()).and_then(|()| make_fifos(dir)) {
            Ok(()) if is_gone => {
                found.mended(format!("{} was removed, and is there again", dir.display()));
            }
            Ok(()) => {}
            Err(e) => found.amiss(e),
        }
    }

    /// Whoever writes into a FIFO without a name is heard all the same, by this daemon and the next.
    async fn see_to_fifos(&mut self, found: &mut Found) {
        let dir = fifos(&self.daemon.config.now().runtime_dir);
        let stamp = stamp(&dir);
        if stamp == self.fifos {
            return;
        }
        let mut nameless = 0;
        for instance in self.daemon.everybody() {
            nameless += usize::from(instance.output().see_to_names().await);
        }
        // At the first look they are those that an earlier daemon told of.
        if self.nameless.replace(nameless).is_some_and(|before| nameless > before) {
            found.mended(format!(
                "FIFOs of {nameless} instances were removed from {}: their output is read on, by this \
                 aibkd and, as long as they run, by the next",
                dir.display()
            ));
        }
        self.fifos = self::stamp(&dir);
    }

    fn tell(&mut self, found: Found) {
        let Found { mended, amiss } = found;
        let news = amiss.iter().filter(|trouble| !self.told.contains(trouble)).cloned();
        for Told { kind, message } in mended.into_iter().chain(news) {
            self.daemon.record(kind, message);
        }
        self.told = amiss;
    }
}

impl Daemon {
    /// From now on looks after its files, until `closing`.
    pub(super) fn look_out(self: &Arc<Self>, caretaker: Caretaker, closing: CancellationToken) {
        match Lookout::new(Arc::clone(self), caretaker) {
            Ok(lookout) => drop(tokio::spawn(lookout.run(closing))),
            Err(e) => {
                tracing::warn!("it will not be noticed if somebody removes files of aibkd: {e}");
            }
        }
    }

    /// Every instance there is, of whatever kind.
    fn everybody(&self) -> Vec<Instance> {
        let (crews, jobs) = (self.engine.crews(), self.jobs.all());
        let instances = crews.values().flat_map(|crew| crew.instances.values());
        let instances = instances.chain(jobs.iter().map(|job| &job.instance));
        instances.chain(&self.managed_nginx).cloned().collect()
    }
}

/// Whoever turns its flag sends its requests elsewhere.
fn flips(service: &Service) -> bool {
    service.upstream.as_ref().is_some_and(|upstream| upstream.switch == Switch::Flip)
}

/// What to watch for the sake of `path`: it, or where it will come.
fn expected(path: &Path, changes: Changes) -> Option<(&Path, Changes)> {
    if fs::symlink_metadata(path).is_ok() {
        return Some((path, changes));
    }
    path.parent().map(|parent| (parent, Changes::OfArrivals))
}

fn fifos(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("fifo")
}

fn make_fifos(runtime_dir: &Path) -> Result<(), String> {
    let dir = fifos(runtime_dir);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|e| format!("cannot make {}: {e}", dir.display()))
}

fn stamp(dir: &Path) -> Option<Stamp> {
    fs::metadata(dir).ok().map(|seen| (seen.ino(), seen.mtime(), seen.mtime_nsec()))
}
