//! Memory: what is left, and whom the kernel has killed for it.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
};

use super::{Finding, Topic, disk::size};

/// Kills before this many seconds are not told.
const DAY: u64 = 24 * 60 * 60;

/// What the kernel says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// /proc/meminfo.
    info: String,
    /// The kernel's own log, as /dev/kmsg gives it; empty where it may not be read.
    log: String,
    /// Seconds since boot.
    uptime: u64,
}

pub(super) fn look() -> Memory {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let uptime = read("/proc/uptime");
    let seconds = uptime.split('.').next().and_then(|text| text.parse().ok());
    Memory { info: read("/proc/meminfo"), log: kernel_log(), uptime: seconds.unwrap_or_default() }
}

/// One record a read, until there is none: `dev-kmsg` of the kernel's documentation.
fn kernel_log() -> String {
    let mut text = String::new();
    let options = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/kmsg");
    let Ok(mut log) = options else { return text };
    let mut record = [0; 8192];
    // As many as a large ring holds: a kernel that writes without pause must not keep us here.
    for _ in 0..50_000 {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(n) => text.push_str(&String::from_utf8_lossy(record.get(..n).unwrap_or_default())),
            // A record was overwritten meanwhile: go on with the next.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => break,
        }
    }
    text
}

/// Whom the kernel has killed, the last one last: `6,12,3456789,-;Out of memory: Killed process 7 (x) …`.
fn killed(log: &str, uptime: u64) -> Vec<String> {
    let of = |line: &str| {
        let (head, message) = line.split_once(';')?;
        let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
        let (_, who) = message.split_once("Killed process ")?;
        let ago = uptime.saturating_sub(micros / 1_000_000);
        let (_, after) = who.split_once('(')?;
        let (name, _) = after.split_once(')')?;
        let pid = who.split(' ').next()?;
        (ago < DAY).then(|| format!("{name} (pid {pid}), {} min ago", ago / 60))
    };
    log.lines().filter_map(of).collect()
}

/// KiB of a line of /proc/meminfo, in bytes.
fn amount(info: &str, key: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

pub(super) fn findings(memory: &Memory) -> Vec<Finding> {
    let of = |key: &str| amount(&memory.info, key);
    let mut found = Vec::new();
    if let (Some(free), Some(all)) = (of("MemAvailable"), of("MemTotal")) {
        let percent = free.saturating_mul(100).checked_div(all).unwrap_or(100);
        let what = format!("{} of memory available ({percent} %)", size(free));
        let next = "see who takes it (ps aux --sort -rss | head); fewer workers, or limits.memory";
        found.push(match percent {
            0..2 => Finding::problem(Topic::Host, what, next),
            2..8 => Finding::warning(Topic::Host, what, next),
            _ => Finding::ok(Topic::Host, what),
        });
    }
    if let (Some(free), Some(all)) = (of("SwapFree"), of("SwapTotal"))
        && all > 0
        && free < all / 10
    {
        let what = format!("swap is almost full: {} of {} free", size(free), size(all));
        found.push(Finding::warning(Topic::Host, what, "see who takes memory, and add some"));
    }
    let killed = killed(&memory.log, memory.uptime);
    if let Some(last) = killed.last() {
        let times = killed.len();
        found.push(Finding::warning(
            Topic::Host,
            format!("the kernel was out of memory within a day ({times} killed): last {last}"),
            "give the service limits.memory, or fewer workers; journalctl -k -g 'Killed process'",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity as S;

    fn info(available: u64, swap: u64) -> Memory {
        let info = format!(
            "MemTotal:       1000000 kB\nMemAvailable:   {available} kB\n\
             SwapTotal:      1000 kB\nSwapFree:       {swap} kB\n"
        );
        Memory { info, ..Memory::default() }
    }

    fn told(memory: &Memory) -> Vec<S> {
        findings(memory).into_iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn what_is_left_decides() {
        assert_eq!(told(&info(500_000, 1000)), [S::Ok]);
        assert_eq!(told(&info(50_000, 1000)), [S::Warning]);
        assert_eq!(told(&info(10_000, 1000)), [S::Problem]);
        assert_eq!(told(&info(500_000, 50)), [S::Ok, S::Warning]);
        assert_eq!(told(&Memory::default()), []);
    }

    #[test]
    fn whom_the_kernel_killed_is_named() {
        let log = "6,1,1000000,-;Out of memory: Killed process 1 (old) total-vm\n\
                   4,2,99000000000,-;noise\n\
                   3,3,99940000000,-;Memory cgroup out of memory: Killed process 77 (uvicorn) x\n";
        let memory = Memory { log: log.into(), uptime: 100_000, ..info(500_000, 1000) };
        assert_eq!(killed(log, 100_000), ["uvicorn (pid 77), 1 min ago"]);
        assert_eq!(told(&memory), [S::Ok, S::Warning]);
    }
}
