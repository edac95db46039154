//! Who a process is (`P1`).

use std::{io, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::sys::proc;

/// Who a process is (`P1`). A pid alone is reused; with its start time and boot it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Arc<str>,
    /// Process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub start_ticks: u64,
}

impl Identity {
    /// The process that has `pid` now; `None` when there is none. Hold a pidfd of it while you ask.
    pub(super) fn read(boot_id: &Arc<str>, pid: i32) -> io::Result<Option<Self>> {
        let stat = proc::stat(pid)?;
        Ok(stat.map(|stat| Self {
            boot_id: Arc::clone(boot_id),
            pid,
            start_ticks: stat.start_ticks,
        }))
    }

    /// How long ago it was started, by the clock that its start time is told in.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let now = Duration::from_secs(now.tv_sec.unsigned_abs())
            + Duration::from_nanos(now.tv_nsec.unsigned_abs());
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        let began = Duration::from_millis(self.start_ticks.saturating_mul(1000) / per_second);
        now.saturating_sub(began)
    }

    /// Whether it is alive, as far as can be seen.
    pub(super) fn is_running(&self) -> bool {
        proc::boot_id().and_then(|boot_id| self.is_alive(&boot_id)).unwrap_or(false)
    }

    /// Whether the process that has our pid now is us; a zombie still tells how it ended.
    pub(super) fn is_there(&self, boot_id: &str) -> io::Result<bool> {
        if *self.boot_id != *boot_id {
            return Ok(false);
        }
        Ok(proc::stat(self.pid)?.is_some_and(|stat| stat.start_ticks == self.start_ticks))
    }

    /// Whether the process that has our pid now is us, and alive.
    pub(super) fn is_alive(&self, boot_id: &str) -> io::Result<bool> {
        if *self.boot_id != *boot_id {
            return Ok(false);
        }
        let stat = proc::stat(self.pid)?;
        Ok(stat.is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.zombie))
    }
}
