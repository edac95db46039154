//! Orphans that become our children. Where there is no cgroup the daemon adopts what its trees leave
//! behind (`PR_SET_CHILD_SUBREAPER`), and as pid 1 of a container it does so anyway; somebody must
//! reap them.

use std::{
    collections::HashSet,
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::sys::{pidfd, proc};

/// Main processes of trees, which their own tasks reap.
#[derive(Debug, Default)]
pub(super) struct Tracked(Mutex<HashSet<i32>>);

impl Tracked {
    /// Runs `start` and tracks the process that it returns, with no chance for the reaper between.
    pub(super) fn begin<T, E>(&self, start: impl FnOnce() -> Result<(i32, T), E>) -> Result<T, E> {
        let mut pids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (pid, value) = start()?;
        pids.insert(pid);
        Ok(value)
    }

    /// The process was reaped.
    pub(super) fn end(&self, pid: i32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    }

    /// Reaps every dead child that came to us from another session and is not tracked. Children of
    /// the daemon's own session are somebody else's to wait for.
    fn reap_orphans(&self) {
        let pids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = rustix::process::getsid(None).ok().map(|pid| pid.as_raw_nonzero().get());
        for pid in proc::children().unwrap_or_default() {
            let is_orphan = |stat: proc::Stat| stat.zombie && Some(stat.session) != own;
            if pids.contains(&pid) || !proc::stat(pid).ok().flatten().is_some_and(is_orphan) {
                continue;
            }
            if let Ok(Some(fd)) = pidfd::open(pid) {
                let _ = pidfd::try_ended(fd.as_fd());
            }
        }
    }
}

/// Adopts orphans and reaps them until `tracked` is dropped. Needs a runtime.
pub(super) fn run(tracked: &Arc<Tracked>) -> std::io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut children = signal(SignalKind::child())?;
    let tracked: Weak<Tracked> = Arc::downgrade(tracked);
    tokio::spawn(async move {
        while children.recv().await.is_some() {
            let Some(tracked) = tracked.upgrade() else { return };
            tracked.reap_orphans();
        }
    });
    Ok(())
}
