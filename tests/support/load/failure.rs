//! Ways in which a request is lost.

use std::{fmt, io};

/// What kind of loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nobody accepted the connection.
    Refused,
    /// Closed or reset before any byte of the answer, on a connection that was not idle before.
    Reset,
    /// Closed before any byte of the answer, as the client wrote into a kept-alive connection: the
    /// server closed an idle connection at the same moment. What a reload of nginx does to some.
    Race,
    /// The answer began and did not end, or is not as long as it should be.
    Short,
    /// No answer in time.
    Timeout,
    /// An answer that is not a success.
    Status(u16),
    /// A websocket that ended without a close frame.
    WebSocketCut,
    /// An answer that is not HTTP.
    Garbage,
}

impl Class {
    /// It counts as a lost request. The reuse race does not: it is nginx's own, and is told apart.
    pub const fn is_loss(self) -> bool {
        !matches!(self, Self::Race)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Race => f.write_str("reuse-race"),
            Self::Short => f.write_str("short-body"),
            Self::Timeout => f.write_str("timeout"),
            Self::Status(code) => write!(f, "http-{code}"),
            Self::WebSocketCut => f.write_str("websocket-cut"),
            Self::Garbage => f.write_str("garbage"),
        }
    }
}

/// One lost request.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What kind.
    pub class: Class,
    /// More about it.
    pub detail: String,
}

impl Failure {
    /// A failure of `class`.
    pub fn new(class: Class, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into() }
    }

    /// A connection that could not be opened.
    pub fn connecting(error: &io::Error) -> Self {
        let class = match error.kind() {
            io::ErrorKind::TimedOut => Class::Timeout,
            io::ErrorKind::ConnectionReset => Class::Reset,
            _ => Class::Refused,
        };
        Self::new(class, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.detail)
    }
}
