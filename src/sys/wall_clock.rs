//! Waits for a moment of the wall clock, which may be set meanwhile.

use std::{io, os::fd::OwnedFd};

use jiff::Timestamp;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::watch;

/// Waits until the wall clock shows `at`, or is set (`TFD_TIMER_CANCEL_ON_SET`, `timerfd_create(2)`),
/// or the host was suspended: look at the clock again then. At once where `at` is over.
///
/// # Errors
/// `timerfd_create(2)`'s: no descriptor is left.
pub async fn reach(at: Timestamp) -> io::Result<()> {
    let timer = timer(at)?;
    // Readable when it has run out; reading tells ECANCELED when the clock was set.
    timer.readable().await.map(drop)
}

fn timer(at: Timestamp) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let fd = timerfd_create(TimerfdClockId::Realtime, flags)?;
    // All zero would disarm it.
    let value = Timespec { tv_sec: at.as_second().max(1), tv_nsec: at.subsec_nanosecond().into() };
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let how = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(&fd, how, &Itimerspec { it_interval: zero, it_value: value })?;
    watch::watch(fd, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_moment_is_reached_and_not_before() {
        let within = Duration::from_secs(20);
        let wait = |at| async move { tokio::time::timeout(within, reach(at)).await.unwrap() };
        wait(Timestamp::UNIX_EPOCH).await.unwrap();
        let at = Timestamp::now() + Duration::from_millis(30);
        wait(at).await.unwrap();
        assert!(Timestamp::now() >= at);
    }
}
