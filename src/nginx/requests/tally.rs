//! Requests counted over a stretch of time. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::line::Logged;

/// What is counted of the requests of one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// All of them.
    pub requests: u64,
    /// Those that clients got a 5xx for.
    pub failed: u64,
    /// Those for which nginx asked more than one server.
    pub retried: u64,
    /// Those of which the answer did not reach its end: the client left, or the instance died.
    pub unfinished: u64,
    /// Median time that clients waited, in milliseconds; none where there was no request.
    pub p50_ms: Option<u32>,
    /// 99th percentile of it.
    pub p99_ms: Option<u32>,
    /// The longest time between two answers that were no failures, in milliseconds.
    pub longest_gap_ms: u64,
}

/// Times, by how often they occurred. nginx knows milliseconds, so this is exact and small.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times(BTreeMap<u32, u64>);

impl Times {
    /// One more.
    pub fn add(&mut self, ms: u32) {
        *self.0.entry(ms).or_default() += 1;
    }

    /// The smallest time that `percent` of all do not exceed.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<u32> {
        let all: u64 = self.0.values().sum();
        let rank = (all * percent).div_ceil(100).max(1);
        let mut passed = 0;
        let reaches = |(_, many): &(&u32, &u64)| {
            passed += **many;
            passed >= rank
        };
        self.0.iter().find(reaches).map(|(ms, _)| *ms)
    }
}

/// A [`Count`] in the making.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    count: Count,
    times: Times,
    /// When the last answer was given that was no failure.
    answered_ms: Option<u64>,
}

impl Tally {
    /// Counts what follows this one: the gap between the two belongs to the later.
    #[must_use]
    pub fn after(earlier: &Self) -> Self {
        Self { answered_ms: earlier.answered_ms, ..Self::default() }
    }

    /// One more request, of which `servers` were asked.
    pub fn add(&mut self, logged: &Logged<'_>, servers: usize) {
        const SWITCHED: u16 = 101;
        let count = &mut self.count;
        count.requests += 1;
        count.failed += u64::from((500..600).contains(&logged.status));
        count.retried += u64::from(servers > 1);
        // A WebSocket has no end of that kind, and its time is how long it was open.
        if logged.status != SWITCHED {
            count.unfinished += u64::from(!logged.whole);
            self.times.add(logged.took_ms);
        }
        if (100..499).contains(&logged.status) {
            let gap = self.answered_ms.map_or(0, |last| logged.at_ms.saturating_sub(last));
            count.longest_gap_ms = count.longest_gap_ms.max(gap);
            self.answered_ms = self.answered_ms.max(Some(logged.at_ms));
        }
    }

    /// What was counted.
    #[must_use]
    pub fn count(&self) -> Count {
        let (p50_ms, p99_ms) = (self.times.percentile(50), self.times.percentile(99));
        Count { p50_ms, p99_ms, ..self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(at_ms: u64, status: u16, took_ms: u32) -> Logged<'static> {
        Logged { at_ms, status, took_ms, whole: true, tries: vec![] }
    }

    #[test]
    fn each_request_is_counted_for_what_the_client_got() {
        let mut tally = Tally::default();
        for (logged, servers) in [
            (request(1_000, 200, 10), 1),
            (request(1_100, 404, 20), 2),
            (request(1_150, 502, 30), 2),
            (Logged { whole: false, ..request(1_160, 499, 40) }, 1),
            (Logged { whole: false, ..request(1_200, 101, 60_000) }, 1),
            (request(1_900, 503, 50), 0),
        ] {
            tally.add(&logged, servers);
        }
        let expected = Count {
            requests: 6,
            failed: 2,
            retried: 2,
            unfinished: 1,
            p50_ms: Some(30),
            p99_ms: Some(50),
            longest_gap_ms: 100,
        };
        assert_eq!(tally.count(), expected);
    }

    #[test]
    fn a_gap_belongs_to_when_it_ends() {
        let mut before = Tally::default();
        before.add(&request(1_000, 200, 1), 1);
        let mut during = Tally::after(&before);
        during.add(&request(1_400, 200, 1), 1);
        // Lines of two workers may be in the log the other way round.
        during.add(&request(1_390, 200, 1), 1);
        during.add(&request(1_410, 200, 1), 1);
        assert_eq!((before.count().longest_gap_ms, during.count().longest_gap_ms), (0, 400));
    }

    #[test]
    fn percentiles_are_of_what_occurred() {
        let mut times = Times::default();
        assert_eq!(times.percentile(50), None);
        (1..=100).for_each(|ms| times.add(ms));
        let of = |percent| times.percentile(percent).unwrap();
        assert_eq!([of(0), of(1), of(50), of(90), of(99), of(100)], [1, 1, 50, 90, 99, 100]);
    }
}
