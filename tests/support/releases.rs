//! Releases of the application under test.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::places::root;

/// The directory with the releases, and `current` beside them.
#[derive(Debug, Clone)]
pub struct Releases {
    home: PathBuf,
}

impl Releases {
    /// In `home`, with nothing in it yet.
    pub fn new(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// Writes the release `name`, which behaves as `mode` says (see `app/main.py`).
    pub fn write(&self, name: &str, mode: &str) -> PathBuf {
        let release = self.home.join("releases").join(name);
        fs::create_dir_all(&release).expect("a directory");
        let app = root().join("tests/support/app/main.py");
        fs::copy(&app, release.join("main.py")).expect("the application");
        fs::write(release.join("VERSION"), name).expect("VERSION");
        fs::write(release.join("mode"), mode).expect("mode");
        release
    }

    /// Lets `current` be the release `name`.
    pub fn set_current(&self, name: &str) {
        let next = self.home.join("current.next");
        let _ = fs::remove_file(&next);
        symlink(self.home.join("releases").join(name), &next).expect("a link");
        fs::rename(&next, self.current()).expect("current");
    }

    /// The link to the current release.
    pub fn current(&self) -> PathBuf {
        self.home.join("current")
    }
}
