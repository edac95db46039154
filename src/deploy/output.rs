//! What the steps of a deploy write, kept whole beside the releases.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::{ident::RolloutId, release::Censor};

/// What is read of it at most, in bytes.
const MOST: u64 = 16 * 1024 * 1024;

/// The output of one deploy. What cannot be kept is told in the journal; the deploy goes on.
pub(super) struct Output {
    file: Option<File>,
    censor: Censor,
}

/// Where the output of the deploy `id` is kept, of an application at `home`.
pub(super) fn path(home: &Path, id: RolloutId) -> PathBuf {
    home.join("deploys").join(format!("{id}.log"))
}

impl Output {
    /// Goes on with the file of the deploy `id`.
    pub(super) fn open(home: &Path, id: RolloutId, censor: Censor) -> Self {
        let path = path(home, id);
        let open = || {
            if let Some(directory) = path.parent() {
                DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
            }
            OpenOptions::new().append(true).create(true).mode(0o640).open(&path)
        };
        let file = open()
            .inspect_err(|e| tracing::warn!("output is not kept in {}: {e}", path.display()))
            .ok();
        Self { file, censor }
    }

    /// Keeps `text`, and gives it back as it may be seen.
    pub(super) fn keep(&mut self, text: &str) -> String {
        let lines: Vec<String> = text.lines().map(|line| self.censor.clean(line)).collect();
        let text = lines.join("\n");
        if let Some(file) = &mut self.file
            && let Err(e) = writeln!(file, "{text}")
        {
            tracing::warn!("the rest of a deploy's output is not kept: {e}");
            self.file = None;
        }
        text
    }
}

/// What is kept of the deploy `id`, of an application at `home`; at most the last 16 MiB.
pub(super) async fn read(home: &Path, id: RolloutId) -> Result<String, String> {
    let path = path(home, id);
    let told = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = tokio::fs::File::open(&path).await.map_err(told)?;
    let long = file.metadata().await.map_err(told)?.len();
    file.seek(SeekFrom::Start(long.saturating_sub(MOST))).await.map_err(told)?;
    let mut bytes = vec![];
    file.take(MOST).read_to_end(&mut bytes).await.map_err(told)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Removes the output of deploys other than `kept`.
pub(super) fn prune(home: &Path, kept: impl Fn(RolloutId) -> bool) {
    let Ok(entries) = fs::read_dir(home.join("deploys")) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let id = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if id.is_some_and(|id| !kept(RolloutId(id))) {
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, Variables};

    #[test]
    fn a_secret_is_neither_kept_nor_told() {
        let home = tempfile::tempdir().unwrap();
        let secrets = Variables::from([("PASSWORD".to_owned(), Secret::new("hunter22"))]);
        let mut output = Output::open(home.path(), RolloutId(7), Censor::of(&secrets));
        assert_eq!(output.keep("on db:hunter22@host\nfailed"), "on db:…@host\nfailed");
        let mut again = Output::open(home.path(), RolloutId(7), Censor::default());
        again.keep("done");
        let kept = || fs::read_to_string(path(home.path(), RolloutId(7)));
        assert_eq!(kept().unwrap(), "on db:…@host\nfailed\ndone\n");
        prune(home.path(), |id| id == RolloutId(7));
        assert!(kept().is_ok());
        prune(home.path(), |_| false);
        assert!(kept().is_err());
    }
}
