//! A stream of JSON documents: one per line, or each in a server-sent event.

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::{Response, StatusCode, body::Incoming, header::CONTENT_TYPE};
use serde::de::DeserializeOwned;

use super::error::ClientError;

/// Most bytes of one line.
const LONGEST: usize = 1024 * 1024;

/// A stream of JSON documents.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    status: StatusCode,
    form: Form,
    /// What was received and not given yet.
    text: BytesMut,
    /// Bytes of `text` that are known to have no end of line.
    searched: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A document is a line.
    Lines,
    /// A document is in a line that begins with `data:`.
    Events,
}

impl Lines {
    pub(super) fn new(answer: Response<Incoming>) -> Self {
        let events = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        Self {
            form: if events { Form::Events } else { Form::Lines },
            status: answer.status(),
            body: answer.into_body(),
            text: BytesMut::new(),
            searched: 0,
        }
    }

    /// The next document; `None` when the daemon ended the stream. Waits as long as it takes:
    /// give it up by dropping the future, nothing is lost by that.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is not what was asked for.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            while let Some(line) = self.line() {
                if let Some(document) = document(self.form, &line) {
                    return serde_json::from_slice(document)
                        .map(Some)
                        .map_err(|e| self.not_understood(e.to_string()));
                }
            }
            if self.text.len() > LONGEST {
                return Err(self.not_understood(format!("a line of more than {LONGEST} bytes")));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.text.extend_from_slice(&data);
                    }
                }
                Some(Err(e)) => return Err(e.into()),
                None => return Ok(None),
            }
        }
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Option<BytesMut> {
        let rest = self.text.get(self.searched..)?;
        let Some(at) = rest.iter().position(|b| *b == b'\n') else {
            self.searched = self.text.len();
            return None;
        };
        let line = self.text.split_to(self.searched + at);
        self.text.advance(1);
        self.searched = 0;
        Some(line)
    }

    fn not_understood(&self, detail: String) -> ClientError {
        ClientError::NotUnderstood { status: self.status, detail }
    }
}

/// The document in a line, if it has one.
fn document(form: Form, line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    match form {
        Form::Lines => (!line.is_empty()).then_some(line),
        Form::Events => line.strip_prefix(b"data:").map(<[u8]>::trim_ascii),
    }
}
