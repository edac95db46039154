//! Signals through pidfds (Linux 5.3), so that a reused pid is never hit.

use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Signals `pid` if `check`, which runs while the pid is held and cannot be reused, says so.
/// `false` when it did not.
///
/// # Errors
/// The kernel's: no such process, not permitted.
pub fn signal_checked(pid: i32, signal: Signal, check: impl FnOnce() -> bool) -> io::Result<bool> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let held = pidfd_open(pid, PidfdFlags::empty())?;
    if !check() {
        return Ok(false);
    }
    pidfd_send_signal(&held, signal)?;
    Ok(true)
}
