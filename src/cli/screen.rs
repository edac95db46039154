//! Standard output: where results go, as text or as JSON.

use std::io::{self, Write as _};

use serde::Serialize;

use super::{failure::Failure, look::Look};

/// What results are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs: exactly one document, or one per line where the command is a stream.
    Json,
}

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Text or JSON.
    pub(super) format: Format,
    /// How text looks.
    pub(super) look: Look,
}

impl Screen {
    /// Standard output as it is, in `format`.
    pub(super) fn new(format: Format) -> Self {
        Self { format, look: Look::of_stdout() }
    }

    /// Writes `text()`, or `value` as one JSON document.
    pub(super) fn show<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(Look) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Text => put(&text(self.look)),
            Format::Json => {
                let text = serde_json::to_string_pretty(value).map_err(unwritable)?;
                put(&(text + "\n"))
            }
        }
    }
}

/// Writes `value` as one line of JSON.
pub(super) fn put_json_line<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(unwritable)?;
    put(&(text + "\n"))
}

/// Writes `text` to standard output at once.
pub(super) fn put(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

fn unwritable(error: serde_json::Error) -> Failure {
    Failure::Output(error.into())
}

/// Writes to standard error; nobody can be told when that fails.
pub(super) fn complain(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}
