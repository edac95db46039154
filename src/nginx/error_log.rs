//! nginx's error log: where a reload explains why it was refused.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The most that is read of what one reload wrote.
const CAP: u64 = 64 * 1024;

/// A place in the error log.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    path: PathBuf,
    inode: u64,
    offset: u64,
}

/// What the log says about a reload so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing that ends it.
    Nothing,
    /// The old configuration stays, for these reasons.
    Refused(String),
}

impl Mark {
    /// The end of the log as it is now. A log that cannot be read is an empty one: the proof does
    /// not depend on it, only the explanation does.
    pub(super) fn end_of(path: &Path) -> Self {
        let (inode, offset) = std::fs::metadata(path).map_or((0, 0), |log| (log.ino(), log.size()));
        Self { path: path.to_owned(), inode, offset }
    }

    /// What `master` wrote since.
    pub(super) fn said(&self, master: i32) -> Said {
        judge(&self.complaints(master))
    }

    /// Every complaint of `master` since, one a line.
    pub(super) fn words(&self, master: i32) -> String {
        self.complaints(master).join("\n")
    }

    fn complaints(&self, master: i32) -> Vec<String> {
        let text = self.new_text().unwrap_or_default();
        text.lines().filter_map(|line| complaint(line, master)).map(str::to_owned).collect()
    }

    fn new_text(&self) -> Option<String> {
        let now = std::fs::metadata(&self.path).ok()?;
        let rotated = now.ino() != self.inode || now.size() < self.offset;
        let offset = if rotated { 0 } else { self.offset };
        if now.size() == offset {
            return None;
        }
        let mut log = File::open(&self.path).ok()?;
        log.seek(SeekFrom::Start(offset)).ok()?;
        let mut bytes = Vec::new();
        log.take(CAP).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// `[emerg] bind() to ...` out of `2026/01/02 03:04:05 [emerg] 7#7: bind() to ...`, when process
/// `master` wrote it: an `nginx -t` by someone else writes to the same log.
fn complaint(line: &str, master: i32) -> Option<&str> {
    let level = line.find("[emerg] ")?;
    let said = line.get(level..)?;
    let (writer, _) = said.strip_prefix("[emerg] ")?.split_once('#')?;
    // The file of a socket that it does not need any more was gone: that ends no reload.
    let is_harmless = message(said).starts_with("unlink() ");
    (writer.parse() == Ok(master) && !is_harmless).then_some(said)
}

/// A refused `bind` or `listen` is tried again five times, 500 ms apart, and only then the old
/// configuration stays (`ngx_open_listening_sockets`); anything else ends the reload at once.
fn judge(complaints: &[String]) -> Said {
    let retried = |line: &String| {
        line.contains("Address already in use") && !line.contains("still could not bind")
    };
    if complaints.iter().all(retried) {
        return Said::Nothing;
    }
    let mut words = complaints.to_vec();
    words.dedup_by(|a, b| message(a) == message(b));
    Said::Refused(words.join("\n"))
}

fn message(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(_, message)| message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(messages: &[&str]) -> Vec<String> {
        messages.iter().map(|m| format!("[emerg] 7#7: {m}")).collect()
    }

    #[test]
    fn only_the_masters_own_emergencies_count() {
        let said = "2026/01/02 03:04:05 [emerg] 7#7: unexpected end of file";
        assert_eq!(complaint(said, 7), Some("[emerg] 7#7: unexpected end of file"));
        assert_eq!(complaint(said, 8), None);
        assert_eq!(complaint("2026/01/02 03:04:05 [error] 7#7: *1 connect() failed", 7), None);
    }

    #[test]
    fn a_refused_bind_is_final_only_after_nginx_gave_up() {
        let bind = "bind() to 127.0.0.1:80 failed (98: Address already in use)";
        assert_eq!(judge(&[]), Said::Nothing);
        assert_eq!(judge(&lines(&[bind, bind])), Said::Nothing);
        let given_up = judge(&lines(&[bind, bind, bind, "still could not bind()"]));
        let words = format!("[emerg] 7#7: {bind}\n[emerg] 7#7: still could not bind()");
        assert_eq!(given_up, Said::Refused(words));
        let denied = "bind() to 0.0.0.0:80 failed (13: Permission denied)";
        assert!(matches!(judge(&lines(&[denied])), Said::Refused(_)));
    }

    #[test]
    fn a_rotated_log_is_read_from_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("error.log");
        std::fs::write(&path, "old line\n".repeat(10)).unwrap();
        let mark = Mark::end_of(&path);
        assert_eq!(mark.said(7), Said::Nothing);
        std::fs::rename(&path, dir.path().join("error.log.1")).unwrap();
        std::fs::write(&path, "2026/01/02 03:04:05 [emerg] 7#7: no\n").unwrap();
        assert_eq!(mark.said(7), Said::Refused("[emerg] 7#7: no".to_owned()));
    }
}
