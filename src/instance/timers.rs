//! When which of an instance's timers is due.

use tokio::time::Instant;

use super::life::Timer;

/// The timers that are armed. Few at a time, of many instances: a map would keep room for eleven.
#[derive(Debug, Default)]
pub(super) struct Timers(Vec<(Timer, Instant)>);

impl Timers {
    /// `timer` is due at `at`, and at no other time.
    pub(super) fn arm(&mut self, timer: Timer, at: Instant) {
        self.disarm(timer);
        self.0.reserve_exact(1);
        self.0.push((timer, at));
    }

    /// `timer` is not due.
    pub(super) fn disarm(&mut self, timer: Timer) {
        self.0.retain(|(armed, _)| *armed != timer);
        self.0.shrink_to_fit();
    }

    /// When `timer` is due, if it is armed.
    pub(super) fn due(&self, timer: Timer) -> Option<Instant> {
        self.0.iter().find(|(armed, _)| *armed == timer).map(|(_, at)| *at)
    }

    /// The one that is due first.
    pub(super) fn next(&self) -> Option<(Timer, Instant)> {
        self.0.iter().copied().min_by_key(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_one_due_is_next_and_each_is_armed_once() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let [soon, later] = [1, 2].map(|seconds| now + Duration::from_secs(seconds));
        timers.arm(Timer::Stable, soon);
        timers.arm(Timer::Backoff, later);
        assert_eq!(timers.next(), Some((Timer::Stable, soon)));
        timers.arm(Timer::Stable, later + Duration::from_secs(1));
        assert_eq!(timers.next(), Some((Timer::Backoff, later)));
        timers.disarm(Timer::Backoff);
        assert_eq!((timers.due(Timer::Backoff), timers.0.len()), (None, 1));
    }
}
