//! The owned file, and nginx's own answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::NginxStatus;

/// `GET /v1/nginx`: the owned file, and what nginx itself answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NginxFile {
    /// Path of the file.
    pub path: String,
    /// Its text; none when there is none.
    pub text: Option<String>,
    /// Observed state.
    pub status: NginxStatus,
}

/// `POST /v1/nginx/test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NginxTest {
    /// `nginx -t` succeeded.
    pub ok: bool,
    /// nginx's own words.
    pub output: String,
}
