//! A running process tree.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    sync::SetOnce,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Exit, Identity, ProcessError,
    confine::{Confined, Request},
    error::Left,
    watcher::{Main, Watcher},
};
use crate::{
    ident::InstanceId,
    sys::{cgroup::Leaf, kernel::Kernel, place::Place, proc},
};

/// How long a shortage is waited out before the next attempt.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(200);

/// A running process tree. Dropping it ends nothing (`P4`).
#[derive(Debug)]
pub struct Tree {
    name: InstanceId,
    main: Arc<Main>,
    place: Place,
    kernel: Arc<dyn Kernel>,
    confined: Confined,
}

/// What a tree is made of.
pub(super) struct Parts {
    pub(super) name: InstanceId,
    pub(super) identity: Identity,
    pub(super) pidfd: OwnedFd,
    pub(super) place: Place,
    pub(super) kernel: Arc<dyn Kernel>,
}

impl Tree {
    /// `watcher` watches the main process from now on.
    pub(super) fn watch(parts: Parts, watcher: &Watcher) -> Result<Self, ProcessError> {
        let Parts { name, identity, pidfd, place, kernel } = parts;
        let main = Arc::new(Main { identity, pidfd, exit: SetOnce::new() });
        watcher.add(&main).map_err(ProcessError::kernel("watch a process"))?;
        Ok(Self { name, main, place, kernel, confined: Confined::default() })
    }

    pub(super) fn confined_by(self, request: Request) -> Self {
        Self { confined: request.into_confined(), ..self }
    }

    /// From now on it is confined as in `known`, and as far as `request` was heard.
    pub(super) fn add_confined(&mut self, known: Confined, request: Request) {
        let Confined { mut enforced, mut refused } = known;
        let more = request.into_confined();
        enforced.extend(more.enforced);
        refused.extend(more.refused);
        self.confined = Confined { enforced, refused };
    }

    /// What of the confinement that was asked for holds; nothing is known of an adopted tree.
    #[must_use]
    pub const fn confined(&self) -> &Confined {
        &self.confined
    }

    /// Who its main process is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.main.identity
    }

    /// A pidfd of the main process, for whoever keeps it.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.main.pidfd.try_clone()
    }

    /// Waits until the main process has ended. May be asked again; the answer stays.
    pub async fn exited(&self) -> Exit {
        *self.main.exit.wait().await
    }

    /// How the main process ended; `None` while it lives.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.main.exit.get().copied()
    }

    /// Sends `signal` to the main process.
    ///
    /// # Errors
    /// When the kernel refuses; a process that is gone is no error.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let sent = self.kernel.signal(self.main.pidfd.as_fd(), signal);
        sent.map(|_| ()).map_err(ProcessError::kernel("send a signal to a process"))
    }

    /// Ends every process of the tree and waits until none is left (`P2`).
    ///
    /// # Errors
    /// Names what is still there at `deadline`.
    pub async fn end(&self, deadline: Duration) -> Result<(), ProcessError> {
        let until = Instant::now() + deadline;
        end_place(&self.name, &self.place, deadline).await?;
        if self.main.exit.initialized() {
            return Ok(());
        }
        // A main process that moved itself out of its cgroup is ended as well; not before the
        // others, which are found as its descendants where there is no cgroup.
        self.signal(Signal::KILL)?;
        timeout_at(until, self.exited()).await.map_err(|_| ProcessError::NotEnded {
            instance: self.name.clone(),
            left: Left::of(&[self.main.identity.pid]),
            after: deadline,
        })?;
        Ok(())
    }

    /// Whether the kernel itself holds the tree to an amount of memory.
    #[must_use]
    pub fn has_memory_limit(&self) -> bool {
        matches!(&self.place, Place::Cgroup(leaf) if leaf.has_memory_limit())
    }

    /// Whether the kernel has killed a process of the tree for want of memory.
    #[must_use]
    pub fn ran_out_of_memory(&self) -> bool {
        matches!(&self.place, Place::Cgroup(leaf) if leaf.ran_out_of_memory())
    }

    /// The bytes of memory that the whole tree uses, when those are more than `limit`. What its
    /// processes share is counted once, where the kernel tells (`Pss` of `smaps_rollup`, Linux 4.14;
    /// it is asked only when their resident sizes together are above the limit).
    #[must_use]
    pub fn memory_above(&self, limit: u64) -> Option<u64> {
        let pids = self.pids();
        let sum = |of: fn(i32) -> Option<u64>| pids.iter().filter_map(|pid| of(*pid)).sum::<u64>();
        if sum(proc::resident) <= limit {
            return None;
        }
        Some(sum(|pid| proc::proportional(pid).or_else(|| proc::resident(pid))))
            .filter(|used| *used > limit)
    }

    /// The cgroup that holds the whole tree.
    pub(super) const fn leaf(&self) -> Option<&Leaf> {
        match &self.place {
            Place::Cgroup(leaf) => Some(leaf),
            Place::Session(_) => None,
        }
    }

    /// Every living process of the tree; empty when the kernel does not tell.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        self.kernel.pids(&self.place).unwrap_or_else(|error| {
            tracing::warn!(instance = %self.name, %error, "cannot list the processes of a tree");
            Vec::new()
        })
    }

    /// SIGKILL to every process, without waiting.
    pub(super) fn kill_all(&self) {
        let _ = self.place.kill();
        self.kill_main();
    }

    /// SIGKILL to the main process, without waiting.
    pub(super) fn kill_main(&self) {
        let _ = self.signal(Signal::KILL);
    }
}

/// The host, or the daemon, has no more of something, which may be given back.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN))
}

/// Ends every process in `place`.
pub(super) async fn end_place(
    name: &InstanceId,
    place: &Place,
    deadline: Duration,
) -> Result<(), ProcessError> {
    let until = Instant::now() + deadline;
    let mut ended = place.end(until).await;
    while ended.as_ref().is_err_and(is_shortage) && Instant::now() + SHORTAGE_PAUSE < until {
        tracing::warn!(instance = %name, error = ?ended, "cannot end a process tree yet");
        sleep(SHORTAGE_PAUSE).await;
        ended = place.end(until).await;
    }
    if ended.map_err(ProcessError::kernel("end a process tree"))? {
        return Ok(());
    }
    let left = place.pids().unwrap_or_default();
    Err(ProcessError::NotEnded { instance: name.clone(), left: Left::of(&left), after: deadline })
}
