//! When a job is due. Pure: no clock is read here.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::config::Schedule;

/// Later than this after its moment, a run is told to have been missed.
const PUNCTUAL: SignedDuration = SignedDuration::from_secs(60);

/// A run that is due, now or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The moment of the schedule that it is for. With it, all before it are dealt with too.
    pub moment: Timestamp,
    /// When it is to begin.
    pub start: Timestamp,
    /// It makes up for moments at which nobody was there.
    pub missed: bool,
}

/// The next run of a job whose schedule has been dealt with up to `dealt`: due when `start` is not
/// after `now`. However many moments were missed, it is one run that makes up for them.
///
/// The same moment is spread by the same time again, so that a daemon that is restarted meanwhile
/// neither hurries nor delays it.
#[must_use]
pub fn next(
    schedule: &Schedule,
    jitter: Duration,
    seed: u64,
    dealt: Timestamp,
    now: Timestamp,
) -> Option<Due> {
    let dealt = believed(schedule, dealt, now);
    let moment = schedule.after(dealt)?;
    let start = spread(moment, jitter, seed);
    if start > now {
        return Some(Due { moment, start, missed: false });
    }
    let missed = now.duration_since(start) > PUNCTUAL;
    let moment = schedule.last_until(dealt, now).unwrap_or(moment);
    Some(Due { moment, start, missed })
}

/// A moment that was dealt with may lie ahead of a clock that was set back. If it is near, it
/// stays dealt with, or it would be run twice. If it is further away than half of what lies between
/// two moments, the clock was wrong before, and to wait for the one after it would leave one out.
fn believed(schedule: &Schedule, dealt: Timestamp, now: Timestamp) -> Timestamp {
    let ahead = dealt.duration_since(now);
    let Some(following) = schedule.after(dealt) else { return dealt };
    if ahead > following.duration_since(dealt) / 2 { now } else { dealt }
}

fn spread(moment: Timestamp, jitter: Duration, seed: u64) -> Timestamp {
    let millis = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return moment;
    }
    let mut hasher = DefaultHasher::new();
    (seed, moment.as_second()).hash(&mut hasher);
    moment.checked_add(Duration::from_millis(hasher.finish() % millis)).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn daily() -> Schedule {
        Schedule::parse("0 3 * * * UTC").unwrap()
    }

    fn due(dealt: &str, now: &str) -> (String, bool, bool) {
        let (dealt, now) = (at(dealt), at(now));
        let due = next(&daily(), Duration::ZERO, 0, dealt, now).unwrap();
        (due.moment.to_string(), due.start <= now, due.missed)
    }

    #[test]
    fn what_was_missed_is_made_up_once() {
        let tenth = "2026-03-10T03:00:00Z".to_owned();
        assert_eq!(
            due("2026-03-09T03:00:00Z", "2026-03-10T02:59:59Z"),
            (tenth.clone(), false, false)
        );
        assert_eq!(
            due("2026-03-09T03:00:00Z", "2026-03-10T03:00:00Z"),
            (tenth.clone(), true, false)
        );
        assert_eq!(due("2026-03-01T03:00:00Z", "2026-03-10T17:00:00Z"), (tenth, true, true));
        let after = due("2026-03-10T03:00:00Z", "2026-03-10T17:00:00Z");
        assert_eq!(after, ("2026-03-11T03:00:00Z".to_owned(), false, false));
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_runs_nothing_twice() {
        let after = due("2026-03-10T03:00:00Z", "2026-03-10T01:30:00Z");
        assert_eq!(after, ("2026-03-11T03:00:00Z".to_owned(), false, false));
    }

    #[test]
    fn a_clock_that_was_far_ahead_leaves_no_day_out() {
        for dealt in ["2026-03-11T03:00:00Z", "2038-01-01T03:00:00Z"] {
            let after = due(dealt, "2026-03-10T10:00:00Z");
            assert_eq!(after, ("2026-03-11T03:00:00Z".to_owned(), false, false));
        }
    }

    proptest! {
        /// A daemon that is up and down at random, its clock going forward: each moment at which it
        /// was up is run on its own, those between are made up by one run, none is run twice, and
        /// none begins before its time or beyond its jitter.
        #[test]
        fn every_moment_is_dealt_with_once(
            steps in prop::collection::vec(1_i64..4000, 1..200),
            jitter in 0_u64..7200,
            seed in any::<u64>(),
        ) {
            let schedule = Schedule::parse("*/10 * * * * UTC").unwrap();
            let jitter = Duration::from_secs(jitter);
            let begun = at("2026-03-01T00:05:00Z");
            let (mut dealt, mut now, mut runs) = (begun, begun, vec![]);
            for step in steps {
                now += SignedDuration::from_secs(step);
                while let Some(due) = next(&schedule, jitter, seed, dealt, now).filter(|due| due.start <= now) {
                    prop_assert!(due.moment > dealt, "twice");
                    prop_assert!(due.moment <= now, "early");
                    runs.push(due.moment);
                    dealt = due.moment;
                }
                // What has not begun yet is still within its jitter.
                if let Some(first) = schedule.after(dealt).filter(|first| *first <= now) {
                    prop_assert!(now.duration_since(first) < SignedDuration::try_from(jitter).unwrap());
                }
            }
            prop_assert!(runs.is_sorted_by(|a, b| a < b));
        }

        /// However the clock is set back and forth, it is never long until the next run, and none
        /// for the same moment follows while the clock is near it.
        #[test]
        fn a_clock_that_jumps_leaves_nothing_out(
            jumps in prop::collection::vec(-2_000_000_i64..2_000_000, 1..30),
        ) {
            let schedule = daily();
            let (mut dealt, mut now) = (at("2026-03-01T03:00:00Z"), at("2026-03-01T03:00:05Z"));
            for jump in jumps {
                now += SignedDuration::from_secs(jump);
                let due = next(&schedule, Duration::ZERO, 0, dealt, now).unwrap();
                let wait = due.start.duration_since(now);
                prop_assert!(wait <= SignedDuration::from_hours(36), "a day is left out: {}", wait);
                if due.start <= now {
                    dealt = due.moment;
                    let again = next(&schedule, Duration::ZERO, 0, dealt, now).unwrap();
                    prop_assert!(again.start > now, "twice");
                }
            }
        }
    }
}
