//! A file system of its own that is quickly full.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{LONG, run};

/// A tmpfs(5), gone when dropped. Declare it before the stage that is to lie on it.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// With room for so many KiB.
    #[track_caller]
    pub fn new(kib: u32) -> Self {
        let directory = tempfile::Builder::new().prefix("aibk-").tempdir_in("/tmp").unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(directory.path());
        let mounted = run(&mut mount, LONG);
        assert!(
            mounted.status == Some(0),
            "this test needs a small disk, and cannot mount one: run it as root, with CAP_SYS_ADMIN\n\
             {mounted}"
        );
        Self(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Takes all the room there is.
    pub fn fill(&self) {
        let mut file = fs::File::options().create(true).append(true).open(self.filler()).unwrap();
        let block = [b'x'; 4096];
        loop {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::StorageFull => return,
                Err(e) => panic!("cannot fill {}: {e}", self.path().display()),
            }
        }
    }

    /// Gives it back.
    pub fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has something open there does not keep it.
        let unmounted = run(Command::new("umount").arg("-l").arg(self.path()), LONG);
        assert!(std::thread::panicking() || unmounted.status == Some(0), "{unmounted}");
    }
}
