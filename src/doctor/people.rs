//! Who looks: not everybody may see everything.

use super::{Finding, Topic};

pub(super) fn findings(is_root: bool) -> Option<Finding> {
    (!is_root).then(|| {
        Finding::warning(
            Topic::Daemon,
            "this is not root, so that processes and files of others may go unseen",
            "run it as root (sudo aibkctl doctor) to see them",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_sees_everything() {
        assert_eq!(findings(true), None);
        assert!(findings(false).is_some());
    }
}
