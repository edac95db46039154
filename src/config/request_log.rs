//! `nginx.request_log`: where nginx notes requests for us, or `none`.

use std::path::{Path, PathBuf};

use super::{nginx_path, section::Section, tree::Value};

/// Its name, beside nginx's own error log: nginx can write there, and whatever rotates that log
/// rotates this one too.
const NAME: &str = "aibk-requests.log";

/// Reads it. The path stands in nginx's own syntax, behind `access_log`.
pub(super) fn request_log(s: &mut Section<'_>, error_log: &Path) -> Option<PathBuf> {
    const KEY: &str = "request_log";
    let off = |value: &Value| matches!(value, Value::Text(word) if word == "none");
    if s.node(KEY).is_some_and(|node| off(&node.value)) {
        return None;
    }
    let Some(path) = s.path_at(KEY) else { return Some(error_log.with_file_name(NAME)) };
    if let Some(wrong) = nginx_path::wrong(&path) {
        s.complain(KEY, wrong.instead("use letters, digits and . _ - + @ , = in its path"));
    }
    Some(path)
}
