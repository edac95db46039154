//! One captured line, and how bytes become lines.

use memchr::memchr;
use serde::{Deserialize, Serialize};

use crate::ident::Generation;

/// Longest line that is kept, in bytes; the rest of it is counted, not kept.
pub(super) const LONGEST: usize = 16 * 1024;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One captured line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds since the epoch; strictly growing within one instance.
    pub at: i64,
    /// Which start wrote it.
    pub generation: Generation,
    /// Where to.
    pub stream: Stream,
    /// The text, without its end of line; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// A line as it is kept, out of one that is whole.
fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // Much faster than looking for what is none.
    match std::str::from_utf8(line) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(line).into_owned(),
    }
}

/// Makes lines of what is read from one stream, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    partial: Vec<u8>,
    beyond: usize,
}

impl Splitter {
    /// Takes the next bytes; `emit` gets every line that is complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut emit: impl FnMut(String)) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            if self.partial.is_empty() && self.beyond == 0 && line.len() <= LONGEST {
                emit(text(line));
            } else {
                self.keep(line);
                emit(self.take());
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.keep(bytes);
    }

    /// A last line without its end, if there is one.
    pub(super) fn finish(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let (kept, beyond) = bytes.split_at(bytes.len().min(LONGEST - self.partial.len()));
        self.partial.extend_from_slice(kept);
        self.beyond += beyond.len();
    }

    fn take(&mut self) -> String {
        let mut text = text(&self.partial);
        if self.beyond > 0 {
            let note = format!(" [aibk: {} more bytes of this line were left out]", self.beyond);
            text.push_str(&note);
        }
        self.partial.clear();
        self.partial.shrink_to(1024);
        self.beyond = 0;
        text
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(splitter: &mut Splitter, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        splitter.feed(bytes, |line| found.push(line));
        found
    }

    #[test]
    fn lines_may_come_in_pieces() {
        let mut splitter = Splitter::default();
        assert_eq!(lines(&mut splitter, b"one\ntw"), ["one"]);
        assert_eq!(lines(&mut splitter, b"o\r\n\nthree"), ["two", ""]);
        assert_eq!(splitter.finish().as_deref(), Some("three"));
        assert_eq!(splitter.finish(), None);
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let mut splitter = Splitter::default();
        assert!(lines(&mut splitter, &vec![b'x'; LONGEST]).is_empty());
        let found = lines(&mut splitter, b"12345\nnext\n");
        assert!(found[0].ends_with("x [aibk: 5 more bytes of this line were left out]"));
        assert_eq!(found[1], "next");
        let exactly = [vec![b'x'; LONGEST], b"\n".to_vec()].concat();
        assert_eq!(lines(&mut splitter, &exactly)[0].len(), LONGEST);
        let more = lines(&mut splitter, &[b"y", exactly.as_slice()].concat());
        assert!(more[0].ends_with("x [aibk: 1 more bytes of this line were left out]"));
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(lines(&mut Splitter::default(), b"a\xffb\n"), ["a\u{fffd}b"]);
    }

    proptest! {
        #[test]
        fn how_it_is_cut_into_reads_does_not_matter(text in "[a\n]{0,80}", at in 0usize..80) {
            let at = at.min(text.len());
            let mut whole = Splitter::default();
            let expected = lines(&mut whole, text.as_bytes());
            let mut cut = Splitter::default();
            let mut found = lines(&mut cut, &text.as_bytes()[..at]);
            found.extend(lines(&mut cut, &text.as_bytes()[at..]));
            prop_assert_eq!(found, expected);
            prop_assert_eq!(cut.finish(), whole.finish());
        }
    }
}
