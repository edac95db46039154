//! The file that PostgreSQL's programs read a password from: `PGPASSFILE`.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use nix::unistd::{User, geteuid};

use super::PostgresError;
use crate::{config::Secret, sys::blocking};

/// How long it may take to write it, and to look up who is to read it.
const WITHIN: Duration = Duration::from_secs(10);

/// What the names of its directory begin with; the daemon's pid and a number follow.
const PREFIX: &str = "aibk-pass-";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A password in a directory of its own, which only its reader enters. Gone when this is dropped;
/// what a daemon left that was killed is removed when the next one is written.
#[derive(Debug)]
pub struct PassFile {
    directory: PathBuf,
}

impl PassFile {
    /// Writes `password` for programs that `user` runs.
    ///
    /// # Errors
    /// When it cannot be written, or cannot stand in such a file.
    pub async fn write(password: &Secret, user: Option<&str>) -> Result<Self, PostgresError> {
        let line = line(password)?;
        let place = std::env::temp_dir();
        let number = NUMBER.fetch_add(1, Relaxed);
        let directory = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
        // From now on it is removed, whatever was made of it.
        let file = Self { directory: directory.clone() };
        let user = user.map(str::to_owned);
        let failed = |source| PostgresError::PassFile { path: directory.clone(), source };
        let path = directory.clone();
        let written = blocking::within(WITHIN, move || {
            sweep(&place);
            make(&path, &line, user.as_deref())
        });
        written.await.map_err(failed)?.map_err(failed)?;
        Ok(file)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join("pgpass")
    }
}

impl Drop for PassFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The one line of the file: for every host, port, database and role.
fn line(password: &Secret) -> Result<String, PostgresError> {
    let password = password.expose();
    if password.contains(['\n', '\r', '\0']) {
        return Err(PostgresError::Password);
    }
    Ok(format!("*:*:*:*:{}\n", password.replace('\\', "\\\\").replace(':', "\\:")))
}

fn make(directory: &Path, line: &str, user: Option<&str>) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(directory)?;
    let path = directory.join("pgpass");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(line.as_bytes())?;
    let reader = user.map(User::from_name).transpose().map_err(io::Error::from)?.flatten();
    if let Some(reader) = reader.filter(|reader| reader.uid != geteuid()) {
        chown(&path, Some(reader.uid.as_raw()), None)?;
        chown(directory, Some(reader.uid.as_raw()), None)?;
    }
    Ok(())
}

/// Removes what daemons left that are gone.
fn sweep(place: &Path) {
    let Ok(entries) = place.read_dir() else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        // Anybody may make a directory with such a name; only root's daemon removes all of them.
        let ours = entry.metadata().is_ok_and(|data| {
            data.is_dir() && (geteuid().is_root() || data.uid() == geteuid().as_raw())
        });
        if ours && !Path::new("/proc").join(pid.to_string()).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn only_its_reader_sees_it_and_it_does_not_stay() {
        let password = Secret::new("a:b\\c");
        let file = PassFile::write(&password, None).await.unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file.directory), mode(&file.path())), (0o700, 0o600));
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "*:*:*:*:a\\:b\\\\c\n");
        let directory = file.directory.clone();
        drop(file);
        assert!(!directory.exists());
        let bad = PassFile::write(&Secret::new("hunter2\nx"), None).await.unwrap_err();
        assert!(!format!("{bad} {bad:?}").contains("hunter2"));
    }

    #[test]
    fn what_a_dead_daemon_left_is_removed_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let live = format!("{PREFIX}{}-0", std::process::id());
        let dead = format!("{PREFIX}4294967295-0");
        for name in [live.as_str(), &dead, "aibk-pass-x", "other"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        sweep(place.path());
        let mut left: Vec<String> = fs::read_dir(place.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [live.as_str(), "aibk-pass-x", "other"]);
    }
}
