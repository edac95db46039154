//! What instances write, and what happens.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Query of `GET /v1/logs`; the answer is one [`LogLine`] of JSON per line, by time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Whose: names of instances, and of services for all of their instances, with commas between
    /// them; none: everybody's.
    #[serde(default)]
    pub of: Option<String>,
    /// How many lines back, of all together (at most 10,000); none: 100, or where `since` is given
    /// every line.
    #[serde(default)]
    pub n: Option<usize>,
    /// Only lines of this moment and later.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Only lines before this moment.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Only lines in which this regular expression is found (at most 1,024 bytes).
    #[serde(default)]
    pub grep: Option<String>,
    /// Go on with every new line.
    #[serde(default)]
    pub follow: bool,
}

/// One line of an instance's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Who wrote it: `api@8000`.
    pub instance: String,
    /// RFC 3339 with microseconds.
    pub at: String,
    /// Which start wrote it.
    pub generation: u64,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// How important it is, by what it says itself, else by the stream: a word of syslog(3), such
    /// as `err`, `warning` or `info`.
    pub priority: String,
    /// The line, as it was written.
    pub text: String,
    /// The message in it, where there is more than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What else a line of JSON says.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// Query of `GET /v1/events`; the answer is a stream of server-sent events, each with an
/// [`crate::store::Event`] as JSON, its `id` the event's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Only events after this id.
    #[serde(default)]
    pub after: u64,
    /// How many back at most (default 100, at most 10,000).
    #[serde(default)]
    pub n: Option<usize>,
    /// Go on with every new event.
    #[serde(default)]
    pub follow: bool,
}
