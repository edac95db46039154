//! How a file that setup wrote is known again, and whether somebody has edited it since. Pure.

use sha2::{Digest as _, Sha256};

const MARK: &str = "# Written by `aibkctl setup`; once it is edited, setup leaves it alone: ";

/// `body` below a line that vouches for it.
pub(super) fn marked(body: &str) -> String {
    format!("{MARK}{}\n{body}", digest(body))
}

/// `text` is as setup wrote it.
pub(super) fn is_untouched(text: &str) -> bool {
    let parts = text.strip_prefix(MARK).and_then(|rest| rest.split_once('\n'));
    parts.is_some_and(|(digest_of, body)| digest_of == digest(body))
}

/// `text` was written by setup, and maybe edited.
pub(super) fn is_marked(text: &str) -> bool {
    text.starts_with(MARK)
}

fn digest(body: &str) -> String {
    let whole = Sha256::digest(body.as_bytes());
    // Half of it is enough: it guards against oversight, not against malice.
    let half = whole.first_chunk::<8>().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_noticed() {
        let text = marked("a: 1\n");
        assert!(is_untouched(&text) && is_marked(&text));
        assert!(!is_untouched(&text.replace("1\n", "2\n")));
        assert!(is_marked(&text.replace("1\n", "2\n")));
        assert!(!is_untouched("a: 1\n") && !is_marked("a: 1\n"));
    }
}
