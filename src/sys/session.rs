//! Process trees where there is no cgroup: the session that setsid(2) made, and everything that
//! descends from its members. A process that leaves both (setsid, and its parent ends) is not seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use rustix::process::Signal;
use tokio::time::{Instant, timeout_at};

use super::{pidfd, proc};

/// A session, named by the process that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Pid of its first process, and number of the session.
    pub id: i32,
    /// When that process was started, in clock ticks since boot.
    pub start_ticks: u64,
}

impl Session {
    /// Every living process of it.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn pids(&self) -> io::Result<Vec<i32>> {
        let mut table = BTreeMap::new();
        for pid in proc::pids()? {
            if let Some(stat) = proc::stat(pid)? {
                table.insert(pid, stat);
            }
        }
        Ok(members(self, &table))
    }

    /// SIGKILL to every process of it.
    ///
    /// # Errors
    /// When /proc cannot be read or the kernel refuses.
    pub fn kill(&self) -> io::Result<Vec<i32>> {
        let pids = self.pids()?;
        for &pid in &pids {
            let start = proc::stat(pid)?.map(|stat| stat.start_ticks);
            pidfd::signal_checked(pid, Signal::KILL, || {
                start.is_some() && start == proc::stat(pid).ok().flatten().map(|s| s.start_ticks)
            })?;
        }
        Ok(pids)
    }

    /// SIGKILL until none is left; `false` when one still is at `deadline`.
    ///
    /// # Errors
    /// When /proc cannot be read or the kernel refuses.
    pub async fn end(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let pids = self.kill()?;
            if pids.is_empty() {
                return Ok(true);
            }
            // They may fork faster than they are killed.
            if Instant::now() >= deadline {
                return Ok(false);
            }
            for pid in pids {
                let Some(fd) = pidfd::open(pid)? else { continue };
                let fd = pidfd::watch(fd)?;
                if timeout_at(deadline, pidfd::gone(&fd)).await.is_err() {
                    return Ok(false);
                }
            }
        }
    }
}

fn members(session: &Session, table: &BTreeMap<i32, proc::Stat>) -> Vec<i32> {
    // Another process may have got the number once all of ours were gone.
    let stranger =
        table.get(&session.id).is_some_and(|leader| leader.start_ticks != session.start_ticks);
    if stranger {
        return Vec::new();
    }
    let mut found: BTreeSet<i32> = table
        .iter()
        .filter(|(_, stat)| stat.session == session.id && stat.start_ticks >= session.start_ticks)
        .map(|(pid, _)| *pid)
        .collect();
    loop {
        let before = found.len();
        found.extend(
            table
                .iter()
                .filter(|(_, s)| found.contains(&s.parent))
                .map(|(p, _)| *p)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            break;
        }
    }
    found.into_iter().filter(|pid| table.get(pid).is_some_and(|stat| !stat.zombie)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(parent: i32, session: i32, start_ticks: u64) -> proc::Stat {
        proc::Stat {
            parent,
            session,
            start_ticks,
            zombie: false,
            exiting: false,
            exit_status: None,
        }
    }

    #[test]
    fn descendants_belong_to_it_and_strangers_do_not() {
        let session = Session { id: 10, start_ticks: 100 };
        let mut table = BTreeMap::from([
            (10, stat(1, 10, 100)),
            (11, stat(10, 10, 101)),
            (12, stat(11, 12, 102)), // left the session, still a descendant
            (13, stat(12, 12, 103)),
            (20, stat(1, 20, 104)),
        ]);
        assert_eq!(members(&session, &table), [10, 11, 12, 13]);
        table.insert(10, proc::Stat { zombie: true, ..stat(1, 10, 100) });
        assert_eq!(members(&session, &table), [11, 12, 13]);
        table.insert(10, stat(1, 10, 999)); // the number was given to somebody else
        assert!(members(&session, &table).is_empty());
    }
}
