//! Orphans that become our children. Where there is no cgroup the daemon adopts what its trees leave
//! behind (`PR_SET_CHILD_SUBREAPER`), and as pid 1 of a container it does so anyway; somebody must
//! reap them.

use std::{
    collections::BTreeSet,
    os::fd::AsFd,
    sync::{Mutex, PoisonError},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::sys::{pidfd, proc};

/// Main processes of trees, which their own tasks reap. One table, as the kernel has one of our
/// children.
static TRACKED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Runs `start` and tracks the process that it returns, with no chance for the reaper between.
pub(super) fn track<T, E>(start: impl FnOnce() -> Result<(i32, T), E>) -> Result<T, E> {
    let mut pids = TRACKED.lock().unwrap_or_else(PoisonError::into_inner);
    let (pid, value) = start()?;
    pids.insert(pid);
    Ok(value)
}

/// The process was reaped.
pub(super) fn forget(pid: i32) {
    TRACKED.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
}

/// Adopts orphans, and reaps them while the runtime lives. Needs a runtime.
pub(super) fn run() -> std::io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut children = signal(SignalKind::child())?;
    tokio::spawn(async move {
        while children.recv().await.is_some() {
            reap_orphans();
        }
    });
    Ok(())
}

/// Reaps every dead child that came to us from another session and is not tracked. Children of the
/// daemon's own session are somebody else's to wait for.
fn reap_orphans() {
    let pids = TRACKED.lock().unwrap_or_else(PoisonError::into_inner);
    // From /proc like the others': it is 0 where our session began outside our pid namespace.
    let Ok(Some(me)) = proc::stat(std::process::id().cast_signed()) else { return };
    let is_orphan = |stat: proc::Stat| stat.zombie && stat.session != me.session;
    for pid in proc::children().unwrap_or_default() {
        if pids.contains(&pid) || !proc::stat(pid).ok().flatten().is_some_and(is_orphan) {
            continue;
        }
        if let Ok(Some(fd)) = pidfd::open(pid) {
            let _ = pidfd::try_ended(fd.as_fd());
        }
    }
}
