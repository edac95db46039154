//! Programs that tell when they began to run: `stamp.c`.

#![allow(dead_code, reason = "no benchmark uses all of it")]

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::Mode,
    process::Pid,
    time::{ClockId, clock_gettime},
};

const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// What the started program says of itself.
pub struct Stamp {
    /// On the monotonic clock.
    pub at: Duration,
    /// Its process.
    pub pid: Pid,
}

/// A FIFO, and the stamps that come out of it.
pub struct Stamps {
    /// What the program is given as its only argument.
    pub path: PathBuf,
    fifo: File,
}

impl Stamps {
    /// Makes the FIFO.
    pub fn at(path: PathBuf) -> Self {
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RWXU).expect("a FIFO");
        // Open for both, it never ends and needs no writer to be opened (fifo(7)).
        let fifo = File::options().read(true).write(true).open(&path).expect("the FIFO");
        Self { path, fifo }
    }

    /// Waits for the next one.
    pub fn next(&self) -> Stamp {
        readable(&self.fifo, "a stamp");
        let mut stamp = [0; 16];
        (&self.fifo).read_exact(&mut stamp).expect("a stamp");
        let [ns, pid] = [&stamp[..8], &stamp[8..]]
            .map(|part| i64::from_ne_bytes(part.try_into().expect("eight bytes")));
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
        Stamp { at: Duration::from_nanos(ns.try_into().expect("a time")), pid }
    }
}

/// Waits until `fd` is readable.
pub fn readable(fd: impl rustix::fd::AsFd, what: &str) {
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&PATIENCE)).expect("poll");
    assert!(ready > 0, "waited in vain for {what}");
}

/// Now, on the clock of the stamps.
pub fn now() -> Duration {
    clock_gettime(ClockId::Monotonic).try_into().expect("a time")
}

/// A C compiler is at hand: the store needs one to be built.
pub fn compile(into: &Path) -> PathBuf {
    let program = into.join("stamp");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/stamp.c");
    let status =
        Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).status();
    assert!(status.is_ok_and(|status| status.success()), "cc");
    program
}
