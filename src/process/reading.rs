//! What a line says of itself: how important it is, its message, and fields.
//!
//! Lines are kept as they were written; this is how they are shown and put into the journal.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Line, Stream};

/// How important a line is: syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// The system cannot be used.
    Emergency,
    /// Somebody must act at once.
    Alert,
    /// Critical.
    Critical,
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// Normal, and worth to be noticed.
    Notice,
    /// For information.
    Info,
    /// For those who look for a mistake.
    Debug,
}

const ALL: [Priority; 8] = [
    Priority::Emergency,
    Priority::Alert,
    Priority::Critical,
    Priority::Error,
    Priority::Warning,
    Priority::Notice,
    Priority::Info,
    Priority::Debug,
];

/// Words for priorities, in lower case: those of Python's logging, of syslog, and of other loggers.
const WORDS: [(&str, Priority); 18] = [
    ("emerg", Priority::Emergency),
    ("emergency", Priority::Emergency),
    ("panic", Priority::Emergency),
    ("alert", Priority::Alert),
    ("crit", Priority::Critical),
    ("critical", Priority::Critical),
    ("fatal", Priority::Critical),
    ("err", Priority::Error),
    ("error", Priority::Error),
    ("exception", Priority::Error),
    ("warn", Priority::Warning),
    ("warning", Priority::Warning),
    ("notice", Priority::Notice),
    ("info", Priority::Info),
    ("information", Priority::Info),
    ("success", Priority::Info),
    ("debug", Priority::Debug),
    ("trace", Priority::Debug),
];

/// Keys under which loggers write the priority of a JSON line, and its message.
const LEVELS: [&str; 5] = ["level", "levelname", "severity", "log.level", "lvl"];
const MESSAGES: [&str; 3] = ["message", "msg", "event"];

impl Priority {
    /// Its number, 0 to 7.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name, as journalctl(1) has it: `err`, `warning`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Emergency => "emerg",
            Self::Alert => "alert",
            Self::Critical => "crit",
            Self::Error => "err",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    fn named(word: &str) -> Option<Self> {
        let same = |(known, _): &&(&str, Self)| known.eq_ignore_ascii_case(word);
        WORDS.iter().find(same).map(|(_, priority)| *priority)
    }
}

/// What a line says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading<'l> {
    /// How important it is.
    pub priority: Priority,
    /// The message alone.
    pub message: Cow<'l, str>,
    /// What else a line of JSON says, as it says it.
    pub fields: Map<String, Value>,
}

impl Line {
    /// Reads, in this order: a prefix `<N>` (sd-daemon(3)); a line that is one JSON object; a word
    /// of a level in capitals at the beginning, as `ERROR:` or `[ERROR]`. Otherwise standard output
    /// is `info`, and standard error `notice`.
    #[must_use]
    pub fn read(&self) -> Reading<'_> {
        let usual = match self.stream {
            Stream::Stdout => Priority::Info,
            Stream::Stderr => Priority::Notice,
        };
        let text = self.text.as_str();
        if let Some((priority, message)) = prefixed(text) {
            return Reading { priority, message: message.into(), fields: Map::new() };
        }
        if let Some(fields) = object(text) {
            return structured(text, fields, usual);
        }
        let priority = leading(text).unwrap_or(usual);
        Reading { priority, message: text.into(), fields: Map::new() }
    }
}

/// `<N>` and the rest.
fn prefixed(text: &str) -> Option<(Priority, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let number: usize = Some(number).filter(|n| n.len() == 1)?.parse().ok()?;
    Some((*ALL.get(number)?, rest))
}

fn object(text: &str) -> Option<Map<String, Value>> {
    let text = text.trim();
    // Most lines are none, and need not be looked at further.
    let looks_so = text.starts_with('{') && text.ends_with('}');
    looks_so.then(|| serde_json::from_str(text).ok()).flatten()
}

fn structured(text: &str, mut fields: Map<String, Value>, usual: Priority) -> Reading<'_> {
    let level = LEVELS.iter().find_map(|key| Priority::named(fields.get(*key)?.as_str()?));
    let key = MESSAGES.iter().find(|key| fields.get(**key).is_some_and(Value::is_string));
    let message = match key.and_then(|key| fields.remove(*key)) {
        Some(Value::String(message)) => message.into(),
        _ => text.into(),
    };
    Reading { priority: level.unwrap_or(usual), message, fields }
}

/// The word at the beginning, where it is that of a level.
fn leading(text: &str) -> Option<Priority> {
    let (word, rest) = match text.strip_prefix('[') {
        Some(text) => text.split_once(']')?,
        None => text.split_once(':')?,
    };
    let capitals = word.bytes().all(|b| b.is_ascii_uppercase());
    (capitals && word.len() <= 9 && !rest.starts_with("//"))
        .then(|| Priority::named(word))
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ident::Generation;

    fn line(text: &str, stream: Stream) -> Line {
        Line { at: 0, generation: Generation(1), stream, text: text.to_owned() }
    }

    fn priority(text: &str) -> &'static str {
        line(text, Stream::Stdout).read().priority.word()
    }

    #[test]
    fn a_line_may_say_how_important_it_is() {
        for (text, expected) in [
            ("plain", "info"),
            ("INFO:     Started server process [7]", "info"),
            ("ERROR:    Exception in ASGI application", "err"),
            ("WARNING:root:low on disk", "warning"),
            ("[CRITICAL] WORKER TIMEOUT", "crit"),
            ("DEBUG: x", "debug"),
            ("Error: of a program that writes no levels", "info"),
            ("ERROR without a colon", "info"),
            ("[2026-03-01 12:00:00] ERROR", "info"),
            ("<3>it failed", "err"),
            ("<0>it burns", "emerg"),
            ("<8>no such priority", "info"),
            ("<30>with a facility", "info"),
            ("<html>", "info"),
            (r#"{"level":"ERROR","message":"x"}"#, "err"),
            (r#"{"levelname":"WARNING","msg":"x"}"#, "warning"),
            (r#"{"severity":"debug"}"#, "debug"),
            (r#"{"level":50,"levelname":"CRITICAL"}"#, "crit"),
            (r#"{"level":30}"#, "info"),
            (r#"{"level":"ERROR""#, "info"),
            ("", "info"),
        ] {
            assert_eq!(priority(text), expected, "{text}");
        }
        assert_eq!(line("plain", Stream::Stderr).read().priority, Priority::Notice);
        assert_eq!(ALL.map(Priority::number), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn the_message_and_the_fields_of_a_line_are_told_apart() {
        let text = r#"{"event":"paid","level":"info","order":{"id":7},"logger":"shop"}"#;
        let line = line(text, Stream::Stdout);
        let reading = line.read();
        assert_eq!(reading.message, "paid");
        let fields = json!({"level": "info", "order": {"id": 7}, "logger": "shop"});
        assert_eq!(Value::Object(reading.fields), fields);
    }

    #[test]
    fn what_has_no_message_is_its_own() {
        for text in [r#"{"a":1}"#, r#"{"message":{"a":1}}"#, "{not json}", "[1]"] {
            assert_eq!(line(text, Stream::Stdout).read().message, text);
        }
        assert_eq!(line("<4>low", Stream::Stderr).read().message, "low");
    }
}
