//! Closed files are compressed on a thread of their own, which is there only while it has work and
//! gives way to everybody else: a flood must not wait for it.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use flate2::{Compression, write::GzEncoder};

use super::files::{PACKED, PART, with_suffix};

/// What the thread has to do.
static WORK: Mutex<Work> = Mutex::new(Work { files: VecDeque::new(), going: false });

struct Work {
    files: VecDeque<PathBuf>,
    going: bool,
}

/// Of nice(1): everybody else comes first.
const NICE: i32 = 15;

fn work() -> MutexGuard<'static, Work> {
    WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compresses a closed file soon, unless it is gone by then.
pub(super) fn soon(path: PathBuf) {
    let mut work = work();
    if work.files.contains(&path) {
        return;
    }
    work.files.push_back(path);
    if !work.going {
        let thread = std::thread::Builder::new().name("aibk-gzip".to_owned()).spawn(run);
        // Without it the next file to be closed tries again.
        work.going = thread.is_ok();
    }
}

fn run() {
    // Zero is the calling thread: sched(7), "The nice value" (Linux).
    let _ = rustix::process::setpriority_process(None, NICE);
    loop {
        let path = {
            let mut work = work();
            let Some(path) = work.files.pop_front() else {
                work.going = false;
                return;
            };
            path
        };
        match pack(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(
                    path = %path.display(), error = %e,
                    "a log file stays uncompressed for now"
                );
            }
            _ => {}
        }
    }
}

/// Puts `path.gz` in the place of `path`. What is called so is complete and durable.
fn pack(path: &Path) -> io::Result<()> {
    let part = with_suffix(path, PART);
    let packed = fill(path, &part).and_then(|()| fs::rename(&part, with_suffix(path, PACKED)));
    match packed {
        // It may have gone for being too old meanwhile.
        Ok(()) => fs::remove_file(path),
        Err(e) => {
            let _ = fs::remove_file(&part);
            Err(e)
        }
    }
}

fn fill(path: &Path, part: &Path) -> io::Result<()> {
    let mut source = File::open(path)?;
    let target =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(part)?;
    let mut encoder = GzEncoder::new(target, Compression::fast());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.sync_all()
}
