//! Processes, as /proc shows them (proc(5)).

use std::{
    collections::BTreeSet,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use procfs::{net::TcpState, process::FDTarget};
use rustix::process::{Pid, Signal, kill_process};

use super::wait_for;

/// It runs; a zombie does not.
pub fn is_alive(pid: i32) -> bool {
    let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.state != 'Z' && stat.state != 'X')
}

/// Sends a signal to one process.
pub fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a pid"), signal)
        .unwrap_or_else(|error| panic!("cannot send {signal:?} to {pid}: {error}"));
}

/// Waits until `pid` is gone.
#[track_caller]
pub fn ends(pid: i32, deadline: Duration) {
    wait_for(&format!("the end of {pid}"), deadline, || (!is_alive(pid)).then_some(()));
}

/// Waits until nobody can ask any more how `pid` ended: it is dead, and its parent has reaped it.
#[track_caller]
pub fn is_reaped(pid: i32, deadline: Duration) {
    let gone = || procfs::process::Process::new(pid).is_err().then_some(());
    wait_for(&format!("{pid} to be reaped"), deadline, gone);
}

/// Its children.
pub fn children_of(pid: i32) -> Vec<i32> {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let stats = all.filter_map(|process| process.stat().ok());
    stats.filter(|stat| stat.ppid == pid && stat.state != 'Z').map(|stat| stat.pid).collect()
}

/// A process that listens on `port`, if there is one.
pub fn listener_on(port: u16) -> Option<i32> {
    let sockets: BTreeSet<u64> = procfs::net::tcp()
        .ok()?
        .into_iter()
        .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect();
    let holds = |process: &procfs::process::Process| {
        process.fd().is_ok_and(|fds| {
            fds.flatten().any(|fd| matches!(fd.target, FDTarget::Socket(n) if sockets.contains(&n)))
        })
    };
    let mut all = procfs::process::all_processes().ok()?.flatten();
    if sockets.is_empty() { None } else { all.find(holds).map(|process| process.pid()) }
}

/// Every process that has to do with `directory`: by its arguments, its environment, where it
/// works, or what it has open. Ourselves excepted.
pub fn touching(directory: &Path) -> Vec<(i32, String)> {
    let Ok(all) = procfs::process::all_processes() else { return Vec::new() };
    let own = i32::try_from(std::process::id()).unwrap();
    all.flatten()
        .map(|process| process.pid())
        .filter(|pid| *pid != own && is_alive(*pid) && touches(*pid, directory))
        .map(|pid| (pid, command_of(pid)))
        .collect()
}

fn touches(pid: i32, directory: &Path) -> bool {
    let needle = directory.as_os_str().as_bytes();
    let says = |name: &str| {
        let text = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        text.windows(needle.len()).any(|part| part == needle)
    };
    let links = |name: &str| {
        fs::read_link(format!("/proc/{pid}/{name}")).is_ok_and(|to| to.starts_with(directory))
    };
    let opened = || {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        fds.into_iter().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(directory)))
    };
    says("cmdline") || says("environ") || links("cwd") || opened()
}

/// Looks at the arguments of whatever runs on this host, while a test goes on.
#[derive(Debug)]
pub struct Onlooker {
    is_over: Arc<AtomicBool>,
    /// Commands that name what is looked for, and those that were looked at, by their first word.
    looks: JoinHandle<(Vec<String>, BTreeSet<String>)>,
}

impl Onlooker {
    /// Looks for `secret` from now on.
    pub fn of(secret: &'static str) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let looks = thread::spawn(move || {
            let (mut naming, mut seen) = (Vec::new(), BTreeSet::new());
            while !over.load(Ordering::Relaxed) {
                for process in procfs::process::all_processes().into_iter().flatten().flatten() {
                    let command = process.cmdline().unwrap_or_default();
                    naming
                        .extend(Some(command.join(" ")).filter(|command| command.contains(secret)));
                    let program = command.first().and_then(|program| program.rsplit('/').next());
                    seen.extend(program.map(str::to_owned));
                }
                thread::park_timeout(Duration::from_millis(5));
            }
            (naming, seen)
        });
        Self { is_over, looks }
    }

    /// What it has seen.
    pub fn told(self) -> (Vec<String>, BTreeSet<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        self.looks.join().unwrap()
    }
}

fn command_of(pid: i32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ").chars().take(160).collect()
}
