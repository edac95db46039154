//! Which lines somebody wants to read.

use regex::bytes::{Regex, RegexBuilder};

use super::Line;

/// Longest pattern, in bytes.
const PATTERN: usize = 1024;
/// Memory that a pattern may take once it is compiled, and again while it is looked for.
const COMPILED: usize = 1024 * 1024;

/// Which lines are wanted; by default all.
#[derive(Debug, Clone)]
pub struct Wanted {
    since: i64,
    until: i64,
    grep: Option<Regex>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { since: i64::MIN, until: i64::MAX, grep: None }
    }
}

impl Wanted {
    /// Only lines of this moment and later, in microseconds since the epoch.
    #[must_use]
    pub fn since(self, since: i64) -> Self {
        Self { since: self.since.max(since), ..self }
    }

    /// Only lines before this moment, in microseconds since the epoch.
    #[must_use]
    pub fn until(self, until: i64) -> Self {
        Self { until: self.until.min(until), ..self }
    }

    /// Only lines in which `pattern` is found. It takes time in proportion to what it is looked
    /// for in, whatever the pattern is.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn grep(self, pattern: &str) -> Result<Self, String> {
        if pattern.len() > PATTERN {
            return Err(format!("the pattern is longer than {PATTERN} bytes"));
        }
        let built =
            RegexBuilder::new(pattern).size_limit(COMPILED).dfa_size_limit(COMPILED).build();
        match built {
            Ok(grep) => Ok(Self { grep: Some(grep), ..self }),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(format!("the pattern takes more than {COMPILED} bytes of memory"))
            }
            // Drawn with a marker below the place, over several lines.
            Err(e) => Err(format!("the pattern is not understood: {e}")),
        }
    }

    /// Whether all lines before `at` are unwanted.
    pub(super) fn begins_at(&self, at: i64) -> bool {
        self.since >= at
    }

    /// Whether no line of `at` or later is wanted.
    pub(super) fn ends_before(&self, at: i64) -> bool {
        self.until <= at
    }

    pub(super) fn has_time(&self, at: i64) -> bool {
        (self.since..self.until).contains(&at)
    }

    /// Whether it is wanted.
    #[must_use]
    pub fn has(&self, line: &Line) -> bool {
        let found = |grep: &Regex| grep.is_match(line.text.as_bytes());
        self.has_time(line.at) && self.grep.as_ref().is_none_or(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ident::Generation, process::Stream};

    fn line(at: i64, text: &str) -> Line {
        let text = text.to_owned();
        Line { at, generation: Generation(1), stream: Stream::Stdout, text }
    }

    #[test]
    fn a_range_begins_with_its_first_moment_and_ends_before_its_last() {
        let wanted = Wanted::default().since(10).until(20);
        assert_eq!([9, 10, 19, 20].map(|at| wanted.has(&line(at, ""))), [false, true, true, false]);
        assert!(wanted.begins_at(10) && !wanted.begins_at(11));
        assert!(wanted.ends_before(20) && !wanted.ends_before(19));
        assert!(Wanted::default().has(&line(i64::MIN, "")));
    }

    #[test]
    fn a_pattern_is_found_anywhere_and_a_bad_one_is_told() {
        let wanted = Wanted::default().grep("err.r|^GET").unwrap();
        assert!(wanted.has(&line(0, "an error")) && wanted.has(&line(0, "GET /")));
        assert!(!wanted.has(&line(0, "a GET")));
        assert!(Wanted::default().grep("(").unwrap_err().contains("unclosed group"));
        assert!(Wanted::default().grep(&"x".repeat(1025)).unwrap_err().contains("longer"));
        assert!(Wanted::default().grep(r"(\w{100}){100}").unwrap_err().contains("memory"));
    }
}
