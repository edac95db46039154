//! Limits and priority of processes that run: prlimit(2), setpriority(2).

use std::{collections::BTreeSet, fs, io};

use rustix::{
    io::Errno,
    process::{self, Pid},
};

use super::confine::{Resource, Rlimit};

/// Rounds in which threads that came meanwhile are looked for; each begins with its maker's priority.
const ROUNDS: usize = 8;

/// The limit of this process.
#[must_use]
pub fn own_limit(resource: Resource) -> Rlimit {
    let own = process::getrlimit(resource.kernel());
    Rlimit { resource, soft: own.current, hard: own.maximum }
}

/// The priority of this process, -20 to 19.
///
/// # Errors
/// getpriority(2)'s.
pub fn own_nice() -> io::Result<i8> {
    i8::try_from(process::getpriority_process(None)?).map_err(io::Error::other)
}

/// Sets a limit of `pid`; one that is gone is no error.
///
/// # Errors
/// prlimit(2)'s: EPERM for raising a hard limit, or for a process of another user, without
/// `CAP_SYS_RESOURCE`; EPERM also for `nofile` above `fs.nr_open`.
pub fn set_limit(pid: i32, limit: &Rlimit) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
    let new = process::Rlimit { current: limit.soft, maximum: limit.hard };
    gone_is_well(process::prlimit(Some(pid), limit.resource.kernel(), new).map(drop))
}

/// Sets the priority of every thread of `pid`, each of which has its own; one that is gone is no
/// error.
///
/// # Errors
/// setpriority(2)'s: EACCES for a better priority without `CAP_SYS_NICE`, EPERM for a process of
/// another user.
pub fn set_nice(pid: i32, nice: i8) -> io::Result<()> {
    let mut done = BTreeSet::new();
    for _ in 0..ROUNDS {
        let new: Vec<i32> = threads(pid).into_iter().filter(|tid| done.insert(*tid)).collect();
        if new.is_empty() {
            break;
        }
        for thread in new {
            let Some(thread) = Pid::from_raw(thread) else { continue };
            gone_is_well(process::setpriority_process(Some(thread), nice.into()))?;
        }
    }
    Ok(())
}

fn threads(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

fn gone_is_well(done: rustix::io::Result<()>) -> io::Result<()> {
    match done {
        Err(Errno::SRCH) => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_needs_no_limit() {
        // No kernel gives so high a number: /proc/sys/kernel/pid_max.
        set_limit(i32::MAX, &own_limit(Resource::Core)).unwrap();
        set_nice(i32::MAX, own_nice().unwrap()).unwrap();
    }
}
