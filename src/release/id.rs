//! The names of releases that we make: when, and of what. Pure.

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};

use crate::ident::ReleaseId;

/// As `20261130T191500Z`.
const FORM: &str = "%Y%m%dT%H%M%SZ";

/// How much of a commit's name, or of a digest, stands in an id.
const SHORT: usize = 12;

/// The beginning of `digest`.
#[must_use]
pub fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}

/// The name of a release made of `digest` at `when`.
pub(super) fn name(when: Timestamp, digest: &str) -> ReleaseId {
    let when = strtime::format(FORM, &when.to_zoned(TimeZone::UTC)).unwrap_or_default();
    ReleaseId(format!("{when}-{}", short(digest)))
}

/// When `id` was made, by its name; `None` when it is none of ours, and so is never touched.
#[must_use]
pub fn made_at(id: &str) -> Option<Timestamp> {
    let (when, digest) = id.split_once('-')?;
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let shaped =
        when.len() == 16 && when.is_ascii() && digest.len() == SHORT && digest.chars().all(hex);
    let time = strtime::parse(FORM, when).ok().filter(|_| shaped)?.to_datetime().ok()?;
    let made = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    // Only what we would have written: no other spelling of the same moment.
    (name(made, digest).0 == id).then_some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_and_of_what_and_sorts_by_time() {
        let when: Timestamp = "2026-11-30T19:15:00Z".parse().unwrap();
        let id = name(when, "0123456789abcdef0123456789abcdef01234567");
        assert_eq!(id.0, "20261130T191500Z-0123456789ab");
        assert_eq!(made_at(&id.0), Some(when));
        assert!(name("2026-12-01T00:00:00Z".parse().unwrap(), &"0".repeat(40)) > id);
    }

    #[test]
    fn nothing_else_is_a_name_of_ours() {
        for other in [
            "",
            "-",
            "current",
            "..",
            "20261130T191500Z",
            "20261130T191500Z-",
            "20261130T191500Z-0123456789AB",
            "20261130T191500Z-0123456789abc",
            "20261330T191500Z-0123456789ab",
            "20261130T191500Z-../../../etc",
            "20261130T19:500Z-0123456789ab",
            ".20261130T191500Z-0123456789ab",
            "20261130T191500Z-0123456789ab/",
            "+2261130T191500Z-0123456789ab",
            "20261130T191560Z-0123456789ab",
        ] {
            assert_eq!(made_at(other), None, "{other}");
        }
    }
}
