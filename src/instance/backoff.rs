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

/// The verdict after the `deaths`th death (from 1) without stable uptime between them.
///
/// `jitter` in `0.0..1.0` shortens a delay by up to a fifth, so that services that died of one
/// cause do not come back in one instant.
#[must_use]
pub fn after(deaths: u32, policy: &Restart, jitter: f64) -> Verdict {
    if deaths > policy.limit {
        return Verdict::GiveUp;
    }
    if deaths <= 1 {
        return Verdict::Now;
    }
    let exponent = i32::try_from(deaths - 2).unwrap_or(i32::MAX);
    let wanted = policy.delay.as_secs_f64() * policy.factor.powi(exponent);
    let capped = wanted.min(policy.cap.as_secs_f64());
    let spread = capped * (1.0 - 0.2 * jitter.clamp(0.0, 1.0));
    Verdict::Wait(Duration::try_from_secs_f64(spread).unwrap_or(policy.cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Restart {
        Restart {
            delay: Duration::from_millis(500),
            factor: 2.0,
            cap: Duration::from_secs(3),
            stable: Duration::from_secs(30),
            limit: 6,
        }
    }

    #[test]
    fn first_at_once_then_longer_up_to_the_cap_then_never() {
        let verdicts: Vec<_> = (1..=7).map(|deaths| after(deaths, &policy(), 0.0)).collect();
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
        assert_eq!(after(2, &policy(), 1.0), Verdict::Wait(Duration::from_millis(400)));
        assert_eq!(after(2, &policy(), 9.0), Verdict::Wait(Duration::from_millis(400)));
    }
}
