//! The clock: whether something keeps it right.

use super::{Finding, Topic};
use crate::sys::clock::{self, Discipline};

pub(super) fn look() -> Option<Discipline> {
    clock::discipline().ok()
}

pub(super) fn findings(discipline: Option<Discipline>) -> Vec<Finding> {
    let found = match discipline {
        Some(Discipline::Synchronised) => Finding::ok(Topic::Host, "the clock is synchronised"),
        Some(Discipline::Alone) => Finding::warning(
            Topic::Host,
            "nothing keeps the clock right: tokens, certificates and schedules go by it",
            "timedatectl set-ntp true, or install chrony; timedatectl tells more",
        ),
        None => return vec![],
    };
    vec![found]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity as S;

    #[test]
    fn a_clock_that_nobody_keeps_is_a_warning() {
        assert_eq!(findings(Some(Discipline::Synchronised))[0].severity, S::Ok);
        assert_eq!(findings(Some(Discipline::Alone))[0].severity, S::Warning);
        assert_eq!(findings(None), []);
    }
}
