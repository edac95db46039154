//! `SELinux`: whether it lets nginx connect to applications.

use std::{fs, path::Path};

use super::{Finding, Topic};

const ROOT: &str = "/sys/fs/selinux";

/// What the kernel says; `None`: there is no `SELinux`.
pub(super) struct Policy {
    enforces: bool,
    /// `httpd_can_network_connect`; `None`: it has no such boolean.
    connects: Option<bool>,
}

pub(super) fn look() -> Option<Policy> {
    let read = |name: &str| fs::read_to_string(Path::new(ROOT).join(name)).ok();
    let enforces = read("enforce")?.trim() == "1";
    // The current value, and the pending one.
    let connects = read("booleans/httpd_can_network_connect");
    Some(Policy { enforces, connects: connects.map(|text| text.trim_start().starts_with('1')) })
}

pub(super) fn findings(policy: Option<&Policy>) -> Vec<Finding> {
    let Some(Policy { enforces, connects }) = policy else { return vec![] };
    let denied = "SELinux does not let nginx connect to applications (httpd_can_network_connect)";
    let next = "setsebool -P httpd_can_network_connect 1";
    vec![match (enforces, connects) {
        (true, Some(false)) => Finding::problem(Topic::Host, denied, next),
        (false, Some(false)) => {
            Finding::warning(Topic::Host, format!("{denied} once it enforces"), next)
        }
        (_, Some(true)) => Finding::ok(Topic::Host, "SELinux lets nginx connect to applications"),
        (_, None) => Finding::ok(Topic::Host, "SELinux has no rule of its own for nginx"),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity as S;

    #[test]
    fn only_a_boolean_that_is_off_and_enforced_is_a_problem() {
        let told = |enforces, connects| findings(Some(&Policy { enforces, connects }))[0].severity;
        assert_eq!(told(true, Some(false)), S::Problem);
        assert_eq!(told(false, Some(false)), S::Warning);
        assert_eq!(told(true, Some(true)), S::Ok);
        assert_eq!(told(true, None), S::Ok);
        assert_eq!(findings(None), []);
    }
}
