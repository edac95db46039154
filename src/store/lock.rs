//! One daemon per state directory: a locked file beside the database.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::error::{Holder, StoreError};

/// How long a lock is waited for. A child between its fork and its execve holds what its daemon held
/// (flock(2)), also when that daemon was killed meanwhile; a living daemon holds it longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// The lock; it lasts until this is dropped or the process ends, however it ends (flock(2)).
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `dir`, and writes this process's pid into it.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("aibk.lock");
        let failed = |source| StoreError::Path { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match patiently(&file) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StoreError::Locked { holder: holder(&mut file), path });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        write_pid(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[allow(clippy::disallowed_methods, reason = "this is a wait for a condition, with a deadline")]
fn patiently(file: &File) -> Result<(), Errno> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            taken => return taken,
        }
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Holder {
    let mut text = String::new();
    match file.take(32).read_to_string(&mut text) {
        Ok(_) => text.trim().parse().map_or(Holder::Unknown, Holder::Pid),
        Err(_) => Holder::Unknown,
    }
}
