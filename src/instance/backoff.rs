//! When a dead instance is started again (`P5`).

use std::time::Duration;

use crate::config::Restart;

/// What to do after a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start at once.
    Now,
    /// Start after this time.
    Wait(Duration),
    /// It is a crash loop.
    GiveUp,
}

/// The deaths of an instance since it was last started on purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deaths {
    /// Without stable uptime between them.
    in_a_row: u32,
    /// When the last ones were, oldest first; at most one more than the limit, and none where there
    /// is no window.
    recent: Vec<Duration>,
}

impl Deaths {
    /// One more, at `now` (any monotonic clock that goes on between calls), and what it leads to.
    ///
    /// `jitter` in `0.0..1.0` shortens a delay by up to a fifth, so that services that died of one
    /// cause do not come back in one instant.
    pub fn another(&mut self, now: Duration, policy: &Restart, jitter: f64) -> Verdict {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.too_many(now, policy) {
            return Verdict::GiveUp;
        }
        if self.in_a_row == 1 {
            return Verdict::Now;
        }
        let exponent = i32::try_from(self.in_a_row - 2).unwrap_or(i32::MAX);
        let wanted = policy.delay.as_secs_f64() * policy.factor.powi(exponent);
        let capped = wanted.min(policy.cap.as_secs_f64());
        let spread = capped * (1.0 - 0.2 * jitter.clamp(0.0, 1.0));
        Verdict::Wait(Duration::try_from_secs_f64(spread).unwrap_or(policy.cap))
    }

    /// It has been up for long enough: the next restart is at once again.
    pub fn settle(&mut self) {
        self.in_a_row = 0;
    }

    /// Whether the next restart is at once.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.in_a_row == 0
    }

    fn too_many(&mut self, now: Duration, policy: &Restart) -> bool {
        let Some(window) = policy.window else { return self.in_a_row > policy.limit };
        self.recent.push(now);
        self.recent.retain(|at| now.saturating_sub(*at) < window);
        u32::try_from(self.recent.len()).is_ok_and(|count| count > policy.limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::RestartPolicy;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn policy(window: Option<Duration>) -> Restart {
        Restart {
            policy: RestartPolicy::Always,
            delay: Duration::from_millis(500),
            factor: 2.0,
            cap: seconds(3),
            stable: seconds(30),
            limit: 6,
            window,
        }
    }

    #[test]
    fn first_at_once_then_longer_up_to_the_cap_then_never() {
        let mut deaths = Deaths::default();
        let verdicts: Vec<_> =
            (1..=7).map(|at| deaths.another(seconds(at), &policy(None), 0.0)).collect();
        let wait = |ms| Verdict::Wait(Duration::from_millis(ms));
        assert_eq!(
            verdicts,
            [
                Verdict::Now,
                wait(500),
                wait(1000),
                wait(2000),
                wait(3000),
                wait(3000),
                Verdict::GiveUp
            ]
        );
    }

    #[test]
    fn jitter_only_shortens_and_by_a_fifth_at_most() {
        for jitter in [1.0, 9.0] {
            let mut deaths = Deaths::default();
            deaths.another(seconds(1), &policy(None), jitter);
            let second = deaths.another(seconds(2), &policy(None), jitter);
            assert_eq!(second, Verdict::Wait(Duration::from_millis(400)));
        }
    }

    #[test]
    fn stable_uptime_forgives_only_what_has_no_window() {
        let loops = |window| {
            let mut deaths = Deaths::default();
            (1..=7_u64)
                .map(|n| {
                    let verdict = deaths.another(seconds(n * 40), &policy(window), 0.0);
                    deaths.settle();
                    verdict
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(loops(None), [Verdict::Now; 7]);
        assert_eq!(loops(Some(seconds(200))), [Verdict::Now; 7]);
        let given_up = loops(Some(seconds(600)));
        assert_eq!((given_up[5], given_up[6]), (Verdict::Now, Verdict::GiveUp));
    }

    proptest! {
        /// Whatever the pace: it is given up exactly when more deaths than the limit fall into one
        /// window, and little is remembered for that.
        #[test]
        fn a_window_counts_what_falls_into_it(
            gaps in prop::collection::vec(0_u64..40, 1..60),
            settles in prop::collection::vec(any::<bool>(), 60),
        ) {
            let policy = policy(Some(seconds(100)));
            let (mut deaths, mut all, mut now) = (Deaths::default(), vec![], 0);
            for (gap, settles) in gaps.into_iter().zip(settles) {
                now += gap;
                all.push(now);
                let within = all.iter().filter(|at| now - **at < 100).count();
                let verdict = deaths.another(seconds(now), &policy, 0.5);
                prop_assert_eq!(verdict == Verdict::GiveUp, within > 6);
                prop_assert!(deaths.recent.len() <= 7);
                if verdict == Verdict::GiveUp {
                    break;
                }
                if settles {
                    deaths.settle();
                }
            }
        }

        /// Delays never shrink while it goes on dying, and stay within the cap.
        #[test]
        fn delays_grow(jitter in 0.0..1.0_f64, factor in 1.0..100.0_f64) {
            let policy = Restart { factor, limit: 1000, ..policy(None) };
            let (mut deaths, mut last) = (Deaths::default(), Duration::ZERO);
            prop_assert_eq!(deaths.another(seconds(0), &policy, jitter), Verdict::Now);
            for n in 1..50 {
                match deaths.another(seconds(n), &policy, jitter) {
                    Verdict::Wait(delay) => {
                        prop_assert!(delay >= last && delay <= policy.cap);
                        last = delay;
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
