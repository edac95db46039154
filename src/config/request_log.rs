//! `nginx.request_log`: where nginx notes requests for us, or `none`.

use std::path::{Path, PathBuf};

use super::{mistake::Wrong, section::Section, tree::Value};

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
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-+@,=".contains(c);
    if !path.to_string_lossy().chars().all(harmless) {
        let what = format!("{} cannot stand in nginx's configuration", path.display());
        let wrong = Wrong::new(what).instead("use letters, digits and . _ - + @ , = in its path");
        s.complain(KEY, wrong);
    }
    Some(path)
}
