//! What /proc tells about one process: proc(5).

use std::{fs, io};

use procfs::{FromRead, ProcError, process};

/// Longest command line shown to people, in characters.
const COMMAND_SHOWN: usize = 120;

/// In the field `flags`.
const PF_EXITING: u32 = 0x4;

/// The fields of /proc/PID/stat that we need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its parent.
    pub parent: i32,
    /// Its session: the pid of the process that called setsid(2).
    pub session: i32,
    /// When it was started, in clock ticks since boot.
    pub start_ticks: u64,
    /// It has ended and waits to be reaped.
    pub zombie: bool,
    /// It is on its way out, or a zombie already: it runs no code of its own any more
    /// (`PF_EXITING`, include/linux/sched.h).
    pub exiting: bool,
    /// How a zombie ended, as waitpid(2) has it. Zero for those who may not see it too, as the
    /// kernel does not tell the two apart.
    pub exit_status: Option<i32>,
}

/// Reads /proc/PID/stat; `None` when there is no such process.
///
/// # Errors
/// When /proc cannot be read.
pub fn stat(pid: i32) -> io::Result<Option<Stat>> {
    match process::Stat::from_file(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(Some(Stat {
            parent: stat.ppid,
            session: stat.session,
            start_ticks: stat.starttime,
            exit_status: stat.exit_code,
            zombie: matches!(stat.state, 'Z' | 'X' | 'x'),
            exiting: stat.flags & PF_EXITING != 0,
        })),
        Err(ProcError::NotFound(_)) => Ok(None),
        // A process that ends while its file is read gives ESRCH.
        Err(ProcError::Io(e, _)) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(e) => Err(io::Error::other(e)),
    }
}

/// Bytes of memory that a process has resident, shared or not; `None` when it cannot be told.
#[must_use]
pub fn resident(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    u64::try_from(rustix::param::page_size()).ok()?.checked_mul(pages)
}

/// Bytes of memory of a process, with its share only of what it shares: `Pss` of `smaps_rollup`.
/// `None` when it cannot be told, as of a process of another user.
#[must_use]
pub fn proportional(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// `/proc/sys/kernel/random/boot_id`: random(4).
///
/// # Errors
/// When it cannot be read.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The command line of a process for people, shortened; its name in brackets when it has none.
#[must_use]
pub fn command(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&line).replace('\0', " ");
    let words = words.trim_end();
    if words.is_empty() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        return format!("[{}]", name.trim_end());
    }
    let printable = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    if words.chars().count() <= COMMAND_SHOWN {
        printable.collect()
    } else {
        printable.take(COMMAND_SHOWN).chain(['…']).collect()
    }
}

/// Every process id there is.
///
/// # Errors
/// When /proc cannot be read.
pub fn pids() -> io::Result<Vec<i32>> {
    Ok(fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

/// The children of this process, of all its threads.
///
/// # Errors
/// When /proc cannot be read.
pub fn children() -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let list = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        found.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Ok(found)
}
