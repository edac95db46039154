//! What a slot's row keeps of the tree that runs in it.

use serde::{Deserialize, Serialize};

use crate::process::{Confined, Identity, Tree};

/// What the next daemon needs to know of a tree, as JSON in [`crate::store::SlotRow::identity`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Its main process.
    #[serde(flatten)]
    pub(super) who: Identity,
    /// What of its confinement held when it was started.
    #[serde(default)]
    pub(super) confined: Confined,
    /// Whether it was ever seen ready.
    #[serde(default)]
    pub(super) seen: Seen,
}

/// Whether a tree was ever seen ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Seen {
    /// Not before the row was written.
    #[default]
    Starting,
    /// Then it may serve, and is not ended for being unready.
    Ready,
}

impl Kept {
    pub(super) fn of(tree: &Tree, seen: Seen) -> Option<String> {
        let (who, confined) = (tree.identity().clone(), tree.confined().clone());
        let mut text = serde_json::to_string(&Self { who, confined, seen }).ok()?;
        // It is kept for as long as the tree, and writing made room for twice as much.
        text.shrink_to_fit();
        Some(text)
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Refusal;

    #[test]
    fn rows_of_earlier_versions_are_read() {
        let old = r#"{"boot_id":"b","pid":7,"start_ticks":9}"#;
        let kept = Kept::read(old).unwrap();
        assert_eq!((kept.who.pid, &kept.confined), (7, &Confined::default()));
        assert_eq!(kept.seen, Seen::Starting);
        let refused = vec![Refusal { asked: "nice -5".into(), reason: "no".into() }];
        let confined = Confined { enforced: vec!["limits.nofile 9".into()], refused };
        let new = serde_json::to_string(&Kept { confined: confined.clone(), ..kept }).unwrap();
        assert_eq!(Kept::read(&new).unwrap().confined, confined);
        assert!(Kept::read("{}").is_none());
    }
}
