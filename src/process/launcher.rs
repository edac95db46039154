//! Starts, adopts and sweeps process trees.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    Capture, Identity, Listener, PortHolder, ProcessError, SpawnSpec,
    birth::{self, EXEC_WITHIN, Unproven},
    confine::{self, Request},
    error::Left,
    program, reaper,
    tree::{Parts, Tree, end_place},
    user,
    watcher::Watcher,
};
use crate::{
    ident::{InstanceId, Port},
    sys::{
        blocking,
        cgroup::{Base, Leaf},
        kernel::{Kernel, Linux},
        place::Place,
        proc,
        session::Session,
        spawn::{self, Environment, Plan, Started},
    },
};

/// How long the user database may take.
const LOOK_UP_DEADLINE: Duration = Duration::from_secs(10);
/// The longest that a spawn takes.
pub const SPAWN_WITHIN: Duration = LOOK_UP_DEADLINE.saturating_add(EXEC_WITHIN);

/// Where a tree is kept, and whom it is of.
pub(super) struct Berth<'a> {
    pub(super) name: &'a InstanceId,
    /// Names its cgroup, or the file that remembers its session.
    pub(super) key: String,
}

/// Gives a child's standard input, output and error.
pub(super) type Ends<'a> = &'a (dyn Fn() -> Result<[OwnedFd; 3], ProcessError> + Sync);

/// Starts and adopts process trees. One per daemon.
#[derive(Debug)]
pub struct Launcher {
    boot_id: Arc<str>,
    base: Option<Base>,
    sessions: PathBuf,
    null: OwnedFd,
    kernel: Arc<dyn Kernel>,
    watcher: Watcher,
    /// Children are born inside their cgroup (`CLONE_INTO_CGROUP`), not moved there.
    born_inside: AtomicBool,
    /// There may be leaves that limit what is born in them.
    controlled: AtomicBool,
}

impl Launcher {
    /// Finds out what this host can do (cgroups). `runtime_dir` must exist; it tells the trees of
    /// one daemon from those of another. Needs a runtime.
    ///
    /// # Errors
    /// When the host cannot be read at all.
    pub fn new(runtime_dir: &Path) -> Result<Arc<Self>, ProcessError> {
        let base = Base::find(&base_name(runtime_dir));
        Self::with(runtime_dir, base, Arc::new(Linux))
    }

    pub(crate) fn with(
        runtime_dir: &Path,
        base: Option<Base>,
        kernel: Arc<dyn Kernel>,
    ) -> Result<Arc<Self>, ProcessError> {
        let boot_id = proc::boot_id().map_err(ProcessError::kernel("read the boot id"))?.into();
        let null = Path::new("/dev/null");
        let null = fs::File::open(null).map_err(ProcessError::file("open", null))?.into();
        spawn::reserve().map_err(ProcessError::kernel("reserve descriptors"))?;
        if let Some(base) = &base {
            tracing::info!(path = %base.path().display(), "process trees are kept in cgroups");
        } else {
            tracing::warn!(
                "no writable cgroup2 tree: process trees are kept by session, and a process that \
                 leaves its session and its parent is not seen; run aibkd as a unit with Delegate=yes"
            );
        }
        if base.is_none() || std::process::id() == 1 {
            reaper::run().map_err(ProcessError::kernel("adopt orphans"))?;
        }
        let sessions = runtime_dir.join("sessions");
        let born_inside = AtomicBool::new(true);
        let controlled = AtomicBool::new(base.as_ref().is_some_and(Base::has_controllers));
        Ok(Arc::new(Self {
            boot_id,
            base,
            sessions,
            null,
            kernel,
            watcher: Watcher::default(),
            born_inside,
            controlled,
        }))
    }

    /// The present boot of the host: random(4).
    #[must_use]
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Starts `spec` as the tree of `name`, its output going to `capture`. When this future is
    /// dropped before it is done, the new process is killed.
    ///
    /// # Errors
    /// Names the stage that failed (fork, user, directory, exec) and the system's reason.
    pub async fn spawn(
        &self,
        name: &InstanceId,
        spec: &SpawnSpec,
        capture: &Capture,
    ) -> Result<Tree, ProcessError> {
        let berth = Berth { name, key: name.to_string() };
        let ends = || {
            let [stdout, stderr] = capture.ends()?;
            Ok([self.nothing()?, stdout, stderr])
        };
        self.start(&berth, spec, &ends).await
    }

    /// A standard input that is at its end.
    pub(super) fn nothing(&self) -> Result<OwnedFd, ProcessError> {
        self.null.try_clone().map_err(ProcessError::kernel("open /dev/null"))
    }

    /// [`Launcher::spawn`] in `berth`; `ends` gives its standard input, output and error.
    pub(super) async fn start(
        &self,
        berth: &Berth<'_>,
        spec: &SpawnSpec,
        ends: Ends<'_>,
    ) -> Result<Tree, ProcessError> {
        let name = berth.name;
        let killed_at_birth = |result: &Result<Tree, ProcessError>| {
            matches!(result, Err(ProcessError::NeverRan { .. })) && self.born_inside.load(Relaxed)
        };
        let mut result = self.bear(berth, spec, ends).await;
        if killed_at_birth(&result) {
            // An earlier daemon killed this leaf and died before it removed it.
            tracing::warn!(instance = %name, "a process was killed at birth; trying a new cgroup");
            if let Some(leaf) = self.leaf(&berth.key)? {
                leaf.retire();
            }
            result = self.bear(berth, spec, ends).await;
        }
        if killed_at_birth(&result) {
            tracing::warn!(instance = %name, "from now on processes are moved into their cgroups");
            self.born_inside.store(false, Relaxed);
            result = self.bear(berth, spec, ends).await;
        }
        result
    }

    pub(super) const fn base(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    /// A leaf has limits from now on; whoever is born in it next has it anew.
    pub(super) fn note_limits(&self) {
        self.controlled.store(true, Relaxed);
    }

    #[cfg(test)]
    pub(super) fn births_inside(&self) -> bool {
        self.born_inside.load(Relaxed)
    }

    async fn bear(
        &self,
        berth: &Berth<'_>,
        spec: &SpawnSpec,
        ends: Ends<'_>,
    ) -> Result<Tree, ProcessError> {
        let name = berth.name;
        let (program, mut plan, mut request) = self.plan(spec, ends).await?;
        let limits = &spec.confinement.limits;
        let mut leaf = self.vacant(berth)?;
        let controlled = self.controlled.load(Relaxed) || limits.any_of_tree();
        if let Some(used) = leaf.take_if(|_| controlled) {
            // What limited its last tree, and what was counted of that, is gone with it.
            used.retire();
            leaf = self.leaf(&berth.key)?;
        }
        plan.bounds.in_limited_cgroup =
            confine::limit(limits, self.base.as_ref(), leaf.as_ref(), &mut request);
        if confine::forbids(&spec.confinement, &request) {
            let refusals = request.refused().to_vec();
            return Err(ProcessError::Refused { instance: name.clone(), refusals });
        }
        let is_limited = plan.bounds.in_limited_cgroup;
        self.controlled.fetch_or(is_limited, Relaxed);
        let inside = leaf.as_ref().filter(|_| self.born_inside.load(Relaxed));
        let inside = inside.map(Leaf::open).transpose();
        let inside = inside.map_err(ProcessError::kernel("open a cgroup"))?;
        let started = reaper::track(|| {
            let started = self.kernel.start(&plan, inside.as_ref().map(AsFd::as_fd))?;
            Ok((started.pid, started))
        });
        drop(plan);
        let mut started =
            started.map_err(|source| ProcessError::Fork { instance: name.clone(), source })?;
        if let Some(leaf) = leaf.as_ref().filter(|_| !started.in_cgroup) {
            started.in_cgroup = leaf.take_in(started.pid).is_ok();
        }
        let pid = started.pid;
        if is_limited && !started.in_cgroup {
            birth::abandon(pid);
            return Err(ProcessError::Outside { instance: name.clone() });
        }
        let (tree, verdict) =
            self.born(berth, started, leaf).inspect_err(|_| birth::abandon(pid))?;
        Unproven { name, spec, program, tree: Some(tree), request }.prove(verdict).await
    }

    async fn plan(
        &self,
        spec: &SpawnSpec,
        ends: Ends<'_>,
    ) -> Result<(PathBuf, Plan, Request), ProcessError> {
        let credentials = match (spec.user.clone(), spec.group.clone()) {
            (None, None) => None,
            // The user database may be a server far away.
            (user, group) => blocking::within(LOOK_UP_DEADLINE, move || {
                user::resolve(user.as_deref(), group.as_deref())
            })
            .await
            .map_err(ProcessError::kernel("look up a user"))??,
        };
        let program = program::resolve(spec)?;
        let stdio = ends()?;
        let mut request = Request::default();
        let bounds = confine::bounds(&spec.confinement, &stdio, &mut request)?;
        let listener = spec.listener.as_ref().map(Listener::descriptor).transpose()?;
        let plan = Plan {
            program: program::c_path(&program)?,
            argv: program::c_argv(&spec.argv)?,
            env: Environment(program::c_env(&spec.env)?),
            directory: program::c_path(&spec.directory)?,
            stdio,
            listener,
            credentials,
            bounds,
        };
        Ok((program, plan, request))
    }

    /// The leaf of `berth`, which must be empty (`P3`).
    fn vacant(&self, berth: &Berth<'_>) -> Result<Option<Leaf>, ProcessError> {
        let Some(leaf) = self.leaf(&berth.key)? else { return Ok(None) };
        if leaf.is_new() || !leaf.populated().map_err(ProcessError::file("read", leaf.path()))? {
            return Ok(Some(leaf));
        }
        // A process is in its cgroup for a moment after we learn that it has ended.
        let is_alive = |pid: &i32| proc::stat(*pid).ok().flatten().is_some_and(|s| !s.exiting);
        let mut pids = leaf.pids().map_err(ProcessError::file("read", leaf.path()))?;
        pids.retain(is_alive);
        if pids.is_empty() {
            return Ok(Some(leaf));
        }
        Err(ProcessError::Occupied { instance: berth.name.clone(), left: Left::of(&pids) })
    }

    fn leaf(&self, key: &str) -> Result<Option<Leaf>, ProcessError> {
        let Some(base) = &self.base else { return Ok(None) };
        let leaf = base.leaf(key);
        leaf.map(Some).map_err(ProcessError::file("make a cgroup in", base.path()))
    }

    fn born(
        &self,
        berth: &Berth<'_>,
        started: Started,
        leaf: Option<Leaf>,
    ) -> Result<(Tree, OwnedFd), ProcessError> {
        let Started { pid, pidfd, verdict, in_cgroup } = started;
        // A zombie keeps its /proc entry, so this cannot miss.
        let identity = Identity::read(&self.boot_id, pid)
            .map_err(ProcessError::kernel("read a new process's /proc/PID/stat"))?
            .ok_or(ProcessError::Kernel {
                action: "read a new process's /proc/PID/stat",
                source: std::io::ErrorKind::NotFound.into(),
            })?;
        let place = match leaf {
            Some(leaf) if in_cgroup => Place::Cgroup(leaf),
            _ => self.remember_session(&berth.key, &identity)?,
        };
        Ok((self.tree(berth.name, identity, pidfd, place)?, verdict))
    }

    fn tree(
        &self,
        name: &InstanceId,
        identity: Identity,
        pidfd: OwnedFd,
        place: Place,
    ) -> Result<Tree, ProcessError> {
        let (name, kernel) = (name.clone(), Arc::clone(&self.kernel));
        Tree::watch(Parts { name, identity, pidfd, place, kernel }, &self.watcher)
    }

    /// Where there is no cgroup, what a sweep by the next daemon needs is kept in a file.
    fn remember_session(&self, key: &str, who: &Identity) -> Result<Place, ProcessError> {
        let path = self.session_file(key);
        let write = || {
            fs::create_dir_all(&self.sessions)?;
            fs::write(&path, serde_json::to_vec(who)?)
        };
        write().map_err(ProcessError::file("write", &path))?;
        Ok(Place::Session(Session { id: who.pid, start_ticks: who.start_ticks }))
    }

    pub(super) fn session_file(&self, key: &str) -> PathBuf {
        self.sessions.join(key)
    }

    fn remembered_session(&self, key: &str) -> Option<Place> {
        let text = fs::read(self.session_file(key)).ok()?;
        let who: Identity = serde_json::from_slice(&text).ok()?;
        (who.boot_id == self.boot_id)
            .then_some(Place::Session(Session { id: who.pid, start_ticks: who.start_ticks }))
    }

    /// Wherever something of `key` may be left.
    pub(super) fn remembered(&self, key: &str) -> Result<Vec<Place>, ProcessError> {
        let leaf = self.leaf(key)?.map(Place::Cgroup);
        Ok(leaf.into_iter().chain(self.remembered_session(key)).collect())
    }

    /// Takes over the tree of an earlier daemon; `None` when it is gone or is somebody else. One that
    /// has ended and was not reaped is there: its end is learned from it. Needs a runtime.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn adopt(&self, name: &InstanceId, who: &Identity) -> Result<Option<Tree>, ProcessError> {
        let kernel = ProcessError::kernel("look for a process of an earlier daemon");
        // The pidfd comes first: what is read after it is about the process that it names.
        let found = self.kernel.open(who.pid).and_then(|fd| Ok((fd, who.is_there(&self.boot_id)?)));
        let (Some(pidfd), true) = found.map_err(kernel)? else { return Ok(None) };
        let leaf = self.base.as_ref().and_then(|base| base.leaf_of(who.pid, &name.to_string()));
        let place = match leaf {
            Some(leaf) => Place::Cgroup(leaf),
            None => self.remember_session(&name.to_string(), who)?,
        };
        let pidfd = reaper::track(|| Ok::<_, ProcessError>((who.pid, pidfd)))?;
        let who = Identity { boot_id: Arc::clone(&self.boot_id), ..who.clone() };
        self.tree(name, who, pidfd, place).map(Some)
    }

    /// Takes over what is left of a tree whose main process `who` has ended, from which its end is
    /// learned: `pidfd` was kept meanwhile. Needs a runtime.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn adopt_ended(
        &self,
        name: &InstanceId,
        who: &Identity,
        pidfd: OwnedFd,
    ) -> Result<Tree, ProcessError> {
        let key = name.to_string();
        let place = match self.remembered(&key)?.into_iter().next() {
            Some(place) => place,
            None => self.remember_session(&key, who)?,
        };
        self.tree(name, who.clone(), pidfd, place)
    }

    /// Whether `who` is there, as far as the kernel tells; in doubt it is.
    #[must_use]
    pub fn lives(&self, who: &Identity) -> bool {
        who.is_alive(&self.boot_id).unwrap_or(true)
    }

    /// Ends whatever is left in the tree of `name` although its main process is unknown or gone.
    ///
    /// # Errors
    /// When something could not be ended in time.
    pub async fn sweep(&self, name: &InstanceId, deadline: Duration) -> Result<(), ProcessError> {
        let key = name.to_string();
        for place in self.remembered(&key)? {
            end_place(name, &place, deadline).await?;
        }
        let _ = fs::remove_file(self.session_file(&key));
        Ok(())
    }

    /// Who listens on `port`, on any address; `None` when nobody does. Microseconds when it is free;
    /// when it is held, every process's descriptors are read (some milliseconds).
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn port_holder(&self, port: Port) -> Result<Option<PortHolder>, ProcessError> {
        let holder = self.kernel.listener(port.get());
        let holder = holder.map_err(ProcessError::kernel("find out who listens on a port"))?;
        Ok(holder.map(PortHolder::from))
    }
}

impl Drop for Launcher {
    /// Leaves that are in use stay (`P4`).
    fn drop(&mut self) {
        if let Some(base) = &self.base {
            base.tidy();
        }
    }
}

/// One name per runtime directory, the same after every restart and upgrade (FNV-1a, 64 bit).
pub(super) fn base_name(runtime_dir: &Path) -> String {
    let path = fs::canonicalize(runtime_dir).unwrap_or_else(|_| runtime_dir.to_owned());
    let hash = path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("aibk-{hash:016x}")
}
