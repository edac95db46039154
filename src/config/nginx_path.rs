//! Paths that stand in nginx's own syntax, where nothing quotes them.

use std::path::Path;

use super::mistake::Wrong;

/// What is wrong with `path` there.
pub(super) fn wrong(path: &Path) -> Option<Wrong> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-+@,=".contains(c);
    let all = path.to_string_lossy().chars().all(harmless);
    (!all).then(|| Wrong::new(format!("{} cannot stand in nginx's configuration", path.display())))
}
