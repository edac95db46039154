//! Problems: what every answer says that is not a success.

use hyper::StatusCode;

use super::types::{Problem, ProblemCode};

impl Problem {
    /// What failed, on what, and what to do next.
    pub fn new(
        code: ProblemCode,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ProblemCode::BadRequest, message, documented())
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ProblemCode::NotFound, message, documented())
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        let hint = "look into the log of aibkd (`journalctl -u aibkd`)".to_owned();
        Self::new(ProblemCode::Failed, message, hint)
    }
}

fn documented() -> String {
    "GET /v1/openapi.json describes every route".to_owned()
}

impl ProblemCode {
    /// The status an answer with it has, where nothing more exact is known.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Busy | Self::Refused => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
