//! Orphans that become our children. Where there is no cgroup the daemon adopts what its trees leave
//! behind (`PR_SET_CHILD_SUBREAPER`), and as pid 1 of a container it does so anyway; somebody must
//! reap them.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::sys::{pidfd, proc};

/// Main processes of trees, which the watcher reaps. One table, as the kernel has one of our
/// children.
static TRACKED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Who waits for a child does so long before it has been dead for this.
const LATE: Duration = Duration::from_secs(5);

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
        let mut doubtful = BTreeMap::new();
        loop {
            let again = async {
                if doubtful.is_empty() { std::future::pending().await } else { sleep(LATE).await }
            };
            tokio::select! {
                more = children.recv() => if more.is_none() { return },
                () = again => {}
            }
            reap_orphans(&mut doubtful);
        }
    });
    Ok(())
}

/// Reaps every dead child that is not tracked, if it came to us from another session. One of the
/// daemon's own session may be somebody else's to wait for, who does so at once: it is reaped if it
/// is still there when it is `LATE`. As pid 1, those who entered the namespace are of our session.
fn reap_orphans(doubtful: &mut BTreeMap<(i32, u64), Instant>) {
    let pids = TRACKED.lock().unwrap_or_else(PoisonError::into_inner);
    // From /proc like the others': it is 0 where our session began outside our pid namespace.
    let Ok(Some(me)) = proc::stat(std::process::id().cast_signed()) else { return };
    let mut seen = BTreeMap::new();
    for pid in proc::children().unwrap_or_default() {
        let stat = proc::stat(pid).ok().flatten().filter(|stat| stat.zombie);
        let Some(stat) = stat.filter(|_| !pids.contains(&pid)) else { continue };
        let who = (pid, stat.start_ticks);
        let since = doubtful.get(&who).copied().unwrap_or_else(Instant::now);
        if stat.session == me.session && since.elapsed() < LATE {
            seen.insert(who, since);
        } else if let Ok(Some(fd)) = pidfd::open(pid) {
            let _ = pidfd::try_ended(fd.as_fd());
        }
    }
    *doubtful = seen;
}
