//! Whether the new colour is worse than the old one, by what clients got from both. Pure.
//!
//! It is judged against the old colour alone: an application that answers 500 to a bad route before
//! and after is no worse. Too few requests are no evidence.

use std::fmt;

use crate::{
    config::Judge,
    nginx::{Times, Try},
};

/// Which of the times of a colour is compared: one request in ten takes longer. A few cold starts
/// among fifty requests do not move it, a slow route does.
const PERCENT: u64 = 90;

/// A difference in times below this, in milliseconds, is nothing that a client sees.
const NOTICED_MS: u32 = 100;

/// What one colour answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Requests that nginx passed to it, and for which it is known what became of them.
    pub requests: u64,
    /// Those that it answered with 5xx, or not at all.
    pub failed: u64,
    /// How long it took to answer.
    pub times: Times,
}

impl Answers {
    /// One more.
    pub fn add(&mut self, tried: &Try<'_>) {
        let Some(status) = tried.status else { return };
        self.requests += 1;
        self.failed += u64::from((500..600).contains(&status));
        if let Some(ms) = tried.took_ms {
            self.times.add(ms);
        }
    }
}

/// What tells against the new colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// It fails where the old one did not: failed and all requests of both.
    Failing {
        /// Of the new one.
        new: (u64, u64),
        /// Of the old one.
        old: (u64, u64),
    },
    /// It is slow where the old one was not: milliseconds within which nine of ten were answered.
    Slow {
        /// Of the new one.
        new: u32,
        /// Of the old one.
        old: u32,
    },
}

/// Whether `new` fails more than `old`: by more than the operator allows, and by more than chance
/// would have it.
#[must_use]
pub fn failing(new: &Answers, old: &Answers, by: &Judge) -> Option<Evidence> {
    if !is_enough(new, old, by) {
        return None;
    }
    let [failed, all] = [new.failed, new.requests].map(u128::from);
    let [failed_old, all_old] = [old.failed, old.requests].map(u128::from);
    // failed/all - failed_old/all_old > max_5xx/100, without fractions.
    let (here, there) = (failed * all_old, failed_old * all);
    let allowed = u128::from(by.max_5xx) * all * all_old;
    // Three standard deviations from what was to be expected, and one failure more.
    let more = here.saturating_sub(there);
    let by_chance = 9 * (there + all_old) * all_old;
    let worse = more * 100 > allowed && more * more > by_chance;
    let counts = |answers: &Answers| (answers.failed, answers.requests);
    worse.then(|| Evidence::Failing { new: counts(new), old: counts(old) })
}

/// Whether `new` is slower than `old` by more than the operator allows.
#[must_use]
pub fn slow(new: &Answers, old: &Answers, by: &Judge) -> Option<Evidence> {
    let (here, there) = (new.times.percentile(PERCENT)?, old.times.percentile(PERCENT)?);
    let limit = there.saturating_mul(by.max_slowdown).max(there.saturating_add(NOTICED_MS));
    (is_enough(new, old, by) && here > limit).then_some(Evidence::Slow { new: here, old: there })
}

/// Both have answered enough requests to be compared.
#[must_use]
pub fn is_enough(new: &Answers, old: &Answers, by: &Judge) -> bool {
    new.requests >= by.min_requests && old.requests >= by.min_requests
}

impl Evidence {
    /// In words, where `new` and `old` are the instances.
    #[must_use]
    pub fn told(&self, new: &impl fmt::Display, old: &impl fmt::Display) -> String {
        match self {
            Self::Failing { new: (failed, all), old: (failed_old, all_old) } => format!(
                "{new} answered 5xx to {failed} of {all} requests, {old} to {failed_old} of {all_old}"
            ),
            Self::Slow { new: here, old: there } => format!(
                "{new} answered nine of ten requests within {here} ms, {old} within {there} ms"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BY: Judge = Judge { min_requests: 20, max_5xx: 5, max_slowdown: 3 };

    fn answers(failed: u64, requests: u64, took_ms: u32) -> Answers {
        let mut answers = Answers::default();
        for n in 0..requests {
            let status = Some(if n < failed { 500 } else { 200 });
            answers.add(&Try { to: "127.0.0.1:8000", status, took_ms: Some(took_ms) });
        }
        answers
    }

    fn is_failing(new: (u64, u64), old: (u64, u64)) -> bool {
        let of = |(failed, requests)| answers(failed, requests, 5);
        failing(&of(new), &of(old), &BY).is_some()
    }

    #[test]
    fn what_fails_more_than_before_is_told_with_its_numbers() {
        let found = failing(&answers(14, 61, 5), &answers(0, 240, 5), &BY).unwrap();
        assert_eq!(
            found.told(&"api@8001", &"api@8000"),
            "api@8001 answered 5xx to 14 of 61 requests, api@8000 to 0 of 240"
        );
        assert!(is_failing((20, 20), (0, 20)));
        assert!(is_failing((300, 1000), (200, 1000)));
    }

    #[test]
    fn what_is_no_worse_than_before_is_no_evidence() {
        for (new, old) in [
            // A route that fails before and after.
            ((30, 100), (60, 200)),
            ((100, 100), (100, 100)),
            // Too few of either.
            ((19, 19), (0, 240)),
            ((61, 61), (0, 19)),
            ((61, 61), (0, 0)),
            // Within what is allowed, however sure.
            ((500, 10_000), (0, 10_000)),
            // What chance does.
            ((3, 20), (0, 240)),
            ((4, 40), (5, 240)),
        ] {
            assert!(!is_failing(new, old), "{new:?} after {old:?}");
        }
    }

    #[test]
    fn what_is_slower_than_before_is_told_with_its_times() {
        let slow = |new, old| slow(&answers(0, 50, new), &answers(0, 50, old), &BY);
        let found = slow(900, 12).unwrap();
        assert_eq!(
            found.told(&"api@8001", &"api@8000"),
            "api@8001 answered nine of ten requests within 900 ms, api@8000 within 12 ms"
        );
        assert_eq!(slow(90, 5), None, "nobody sees that");
        assert_eq!(slow(2_900, 1_000), None, "less than three times");
        assert_eq!(slow(12, 900), None);
    }

    #[test]
    fn a_few_cold_starts_are_not_slow() {
        let mut new = answers(0, 46, 10);
        let cold = Try { to: "127.0.0.1:8001", status: Some(200), took_ms: Some(2_000) };
        (0..4).for_each(|_| new.add(&cold));
        assert_eq!(slow(&new, &answers(0, 50, 10), &BY), None);
    }

    #[test]
    fn a_request_without_an_answer_to_judge_is_none() {
        let mut left = Answers::default();
        left.add(&Try { to: "127.0.0.1:8000", status: None, took_ms: None });
        assert_eq!(left, Answers::default());
    }

    proptest! {
        #[test]
        fn more_failures_never_look_better(
            all in 20_u64..5_000, old in 20_u64..5_000, some in 0_u64..5_000, more in 0_u64..100,
        ) {
            let some = some.min(all);
            let more = (some + more).min(all);
            prop_assert!(!is_failing((some, all), (0, old)) || is_failing((more, all), (0, old)));
        }

        #[test]
        fn who_is_as_before_is_never_undone(all in 0_u64..5_000, failed in 0_u64..5_000) {
            prop_assert!(!is_failing((failed.min(all), all), (failed.min(all), all)));
        }
    }
}
