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

/// `GET /v1/nginx/snippets/{service}`: the lines that a site needs for a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NginxSnippet {
    /// For which.
    pub service: String,
    /// How its traffic goes from one slot to the other.
    pub switch: Switch,
    /// In `http`, once, beside the server.
    pub http: Vec<String>,
    /// In the `server`.
    pub server: Vec<String>,
    /// In each `location` that passes to the service.
    pub location: Vec<String>,
    /// In each `server` or `location` that has an `access_log` of its own, beside that.
    #[serde(default)]
    pub log: Vec<String>,
}

/// How traffic goes from one slot to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// nginx reads its configuration again.
    Reload,
    /// nginx looks for a flag file at each request.
    Flip,
}

/// `POST /v1/nginx/test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NginxTest {
    /// `nginx -t` succeeded.
    pub ok: bool,
    /// nginx's own words.
    pub output: String,
}
