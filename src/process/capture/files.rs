//! The files of one instance's log, and reading them back.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::Line;
use crate::ident::InstanceId;

/// Files kept beside the one that is written: `NAME.log.1` is the newest of them.
pub(super) const ROTATED: usize = 4;
/// Bytes read at once, from the end of a file towards its beginning.
const BLOCK: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub(super) struct LogFiles {
    current: PathBuf,
}

impl LogFiles {
    pub(super) fn new(dir: &Path, name: &InstanceId) -> Self {
        Self { current: dir.join(format!("{name}.log")) }
    }

    /// The one that is written.
    pub(super) fn current(&self) -> &Path {
        &self.current
    }

    /// The last `n` lines before the time `before`, oldest first. What is no line of ours is
    /// skipped: a full disk may have torn one.
    pub(super) fn last(&self, n: usize, before: i64) -> Vec<Line> {
        let mut newest_first = Vec::new();
        let mut before = before;
        for path in self.newest_first() {
            // A missing file is the usual case: not that much was ever written.
            let _ = read_backwards(&path, |text| {
                // Each older than the one before: a rotation meanwhile shows lines twice.
                let line = serde_json::from_slice::<Line>(text).ok().filter(|l| l.at < before);
                if let Some(line) = line {
                    before = line.at;
                    newest_first.push(line);
                }
                newest_first.len() < n
            });
            if newest_first.len() >= n {
                break;
            }
        }
        newest_first.reverse();
        newest_first
    }

    fn newest_first(&self) -> impl Iterator<Item = PathBuf> {
        let rotated = (1..=ROTATED).map(|n| {
            let mut name = self.current.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        });
        std::iter::once(self.current.clone()).chain(rotated)
    }
}

/// Gives every line of a file to `take`, last first, until it says `false`.
fn read_backwards(path: &Path, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut start = file.seek(SeekFrom::End(0))?;
    // The beginning of a line whose end was already read.
    let mut tail: Vec<u8> = Vec::new();
    while start > 0 {
        let size = BLOCK.min(usize::try_from(start).unwrap_or(BLOCK));
        start -= size as u64;
        let mut block = vec![0; size];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        block.append(&mut tail);
        let mut lines = block.rsplit(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            if lines.peek().is_none() && start > 0 {
                tail = line.to_vec();
            } else if !line.is_empty() && !take(line) {
                return Ok(());
            }
        }
    }
    Ok(())
}
