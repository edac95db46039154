//! What programs write, made into lines that anybody may see. Pure.

use std::collections::{BTreeSet, VecDeque};

use percent_encoding::percent_decode_str;

use crate::config::Variables;

/// Hears each line of output as it comes.
pub type Tell<'t> = &'t mut (dyn FnMut(&str) + Send);

/// The longest line, in bytes; the rest of it is left out.
const LONGEST: usize = 4000;

/// How many of the last lines an error shows.
const LAST: usize = 12;

/// Hides what must not be seen.
#[derive(Clone, Default)]
pub struct Censor(BTreeSet<String>);

/// A value this short hides too much else, unless its name says that it is a secret.
const TELLING: usize = 8;

/// One that is shorter hides too much in any case.
const SHORTEST: usize = 4;

/// What is shown instead.
const HIDDEN: &str = "…";

impl Censor {
    /// For what the environment of a program holds.
    #[must_use]
    pub fn of(variables: &Variables) -> Self {
        let secret = |(name, value): &(&String, &str)| {
            let name = name.to_ascii_uppercase();
            let named = ["PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "DSN", "PWD"];
            if named.iter().any(|word| name.contains(word)) {
                return value.len() >= SHORTEST;
            }
            // What stands in each line of a traceback is no secret.
            value.len() >= TELLING && !value.starts_with('/')
        };
        let values = || variables.iter().map(|(name, value)| (name, value.expose()));
        // A program may write the lines of a value apart, and a password without its URL.
        let lines = values().filter(secret).flat_map(|(_, value)| value.lines().map(str::trim));
        let passwords = values().filter_map(|(_, url)| password(url)).flat_map(|password| {
            let decoded = percent_decode_str(password).decode_utf8_lossy().into_owned();
            [password.to_owned(), decoded]
        });
        let all = lines.map(str::to_owned).chain(passwords);
        Self(all.filter(|hidden| hidden.len() >= SHORTEST).collect())
    }

    /// `line` without secrets, and without what disturbs a terminal.
    #[must_use]
    pub fn clean(&self, line: &str) -> String {
        let mut line = without_escapes(line);
        // The longest first: one may be part of another.
        let mut hidden: Vec<&String> =
            self.0.iter().filter(|hidden| line.contains(*hidden)).collect();
        hidden.sort_by_key(|hidden| std::cmp::Reverse(hidden.len()));
        for hidden in hidden {
            line = line.replace(hidden, HIDDEN);
        }
        without_passwords(&line)
    }
}

/// That of `scheme://user:password@host`, as it is written there.
fn password(url: &str) -> Option<&str> {
    url.split_once("://").and_then(|(_, after)| credentials(after)).map(|(_, password)| password)
}

/// User and password, where `after` is what stands behind `://`.
fn credentials(after: &str) -> Option<(&str, &str)> {
    let authority = after.split(|c: char| c == '/' || c.is_whitespace()).next()?;
    authority.rsplit_once('@')?.0.split_once(':')
}

/// `://user:password@host` without the password.
fn without_passwords(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        rest = match credentials(after) {
            Some((user, password)) => {
                clean.push_str(user);
                clean.push(':');
                clean.push_str(HIDDEN);
                after.get(user.len() + 1 + password.len()..).unwrap_or_default()
            }
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

/// Without colours and other sequences for terminals, and without control characters.
fn without_escapes(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.as_str().starts_with('[') => {
                chars.next();
                // To the final byte of ECMA-48's control sequence.
                chars.by_ref().find(|c| ('@'..='~').contains(c));
            }
            '\t' => clean.push(' '),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// Makes lines of pieces, and keeps the last.
pub struct Lines<'c> {
    censor: &'c Censor,
    begun: Vec<u8>,
    last: VecDeque<String>,
}

impl<'c> Lines<'c> {
    /// None yet.
    #[must_use]
    pub const fn new(censor: &'c Censor) -> Self {
        Self { censor, begun: Vec::new(), last: VecDeque::new() }
    }

    /// Takes a piece; every line that it completes is told.
    pub fn take(&mut self, piece: &[u8], tell: Tell<'_>) {
        for byte in piece {
            match byte {
                b'\n' | b'\r' => self.finish(tell),
                // So much more than is shown, that a secret at the end of that is seen whole.
                _ if self.begun.len() < 2 * LONGEST => self.begun.push(*byte),
                _ => {}
            }
        }
    }

    /// Tells what was begun.
    pub fn finish(&mut self, tell: Tell<'_>) {
        let line = self.censor.clean(&String::from_utf8_lossy(&self.begun));
        self.begun.clear();
        let line = match line.char_indices().take_while(|(at, _)| *at < LONGEST).last() {
            Some((at, c)) => line.get(..at + c.len_utf8()).unwrap_or_default().trim_end(),
            None => return,
        };
        if line.is_empty() {
            return;
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
        tell(line);
    }

    /// The last lines.
    #[must_use]
    pub fn last(self) -> Vec<String> {
        self.last.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn censor(variables: &[(&str, &str)]) -> Censor {
        let secret = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new(*value));
        Censor::of(&variables.iter().map(secret).collect())
    }

    fn lines(censor: &Censor, pieces: &[&str]) -> Vec<String> {
        let mut told = Vec::new();
        let mut lines = Lines::new(censor);
        for piece in pieces {
            lines.take(piece.as_bytes(), &mut |line| told.push(line.to_owned()));
        }
        lines.finish(&mut |line| told.push(line.to_owned()));
        told
    }

    #[test]
    fn pieces_become_lines_without_what_disturbs_a_terminal() {
        let none = Censor::default();
        assert_eq!(lines(&none, &["a", "b\nc", "\n", "\n\nd"]), ["ab", "c", "d"]);
        assert_eq!(
            lines(&none, &["10%\r50%\r\u{1b}[32m100%\u{1b}[0m\r\n"]),
            ["10%", "50%", "100%"]
        );
        assert_eq!(lines(&none, &["a\tb\u{7}\u{1b}]"]), ["a b]"]);
        assert_eq!(lines(&none, &[&"é".repeat(9000)])[0].len(), LONGEST);
        let mut kept = Lines::new(&none);
        kept.take("x\n".repeat(100).as_bytes(), &mut |_| {});
        assert_eq!(kept.last().len(), LAST);
    }

    #[test]
    fn secrets_are_never_shown() {
        let censor = censor(&[
            ("DATABASE_URL", "postgresql://u:hunter2pw@db/x"),
            ("API_KEY", "k3y!"),
            ("DEBUG", "true"),
            ("PEM_KEY", "-----BEGIN-----\nabcdefgh\n"),
            ("PORT", "8000"),
            ("CACHE", "redis://:p%40ss@h"),
            ("APP_DIR", "/srv/shop/current"),
        ]);
        let shown = |line: &str| censor.clean(line);
        assert_eq!(shown("url=postgresql://u:hunter2pw@db/x."), "url=….");
        assert_eq!(shown("hunter2pw, p%40ss and p@ss"), "…, … and …");
        assert_eq!(shown("in /srv/shop/current/main.py"), "in /srv/shop/current/main.py");
        assert_eq!(shown("with k3y! and abcdefgh"), "with … and …");
        assert_eq!(shown("DEBUG true on 8000"), "DEBUG true on 8000", "that hides nothing");
        let none = Censor::default();
        for (line, expected) in [
            ("from https://u:p@h/x and git://v:q@g", "from https://u:…@h/x and git://v:…@g"),
            ("https://:token@h", "https://:…@h"),
            ("https://user@h/a:b@c", "https://user@h/a:b@c"),
            ("https://h:80/ x@y", "https://h:80/ x@y"),
            ("https://u:p@ss@h", "https://u:…@h"),
            ("://", "://"),
        ] {
            assert_eq!(none.clean(line), expected);
        }
    }
}
