//! nginx's processes, found in `/proc` and told apart by the titles nginx gives them.

use std::{io, path::Path};

use rustix::process::Signal;

use super::NginxError;
use crate::sys::{pidfd, proc};

/// A process that was seen to be an nginx master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Master(pub(super) i32);

/// The workers of a master.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Workers {
    /// They accept connections.
    pub(super) accepting: Vec<i32>,
    /// They are shutting down.
    pub(super) leaving: Vec<i32>,
}

/// What a process is, by its title (`ngx_setproctitle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Title {
    Master,
    Worker,
    Leaving,
    Other,
}

impl Title {
    fn of(command: &str) -> Self {
        match command.strip_prefix("nginx: ") {
            Some(title) if title.starts_with("master process") => Self::Master,
            Some(title) if title.starts_with("worker process is") => Self::Leaving,
            Some(title) if title.starts_with("worker process") => Self::Worker,
            _ => Self::Other,
        }
    }
}

impl Master {
    /// The master that `pid_file` names.
    ///
    /// # Errors
    /// [`NginxError::NotRunning`], or [`NginxError::NotMaster`] when it names something else.
    pub(super) fn find(pid_file: &Path) -> Result<Self, NginxError> {
        let not_running = |why: String| NginxError::NotRunning { why };
        let text = std::fs::read_to_string(pid_file)
            .map_err(|error| not_running(format!("{}: {error}", pid_file.display())))?;
        let pid = text.trim().parse::<i32>().ok().filter(|pid| *pid > 0);
        let pid = pid.ok_or_else(|| not_running(format!("{} holds no pid", pid_file.display())))?;
        match command(pid) {
            Some(command) if Title::of(&command) == Title::Master => Ok(Self(pid)),
            Some(command) => {
                Err(NginxError::NotMaster { pid_file: pid_file.to_owned(), pid, command })
            }
            None => {
                Err(not_running(format!("process {pid}, named by {}, is gone", pid_file.display())))
            }
        }
    }

    /// Whether it still is an nginx master.
    pub(super) fn is_still(self) -> bool {
        command(self.0).is_some_and(|command| Title::of(&command) == Title::Master)
    }

    /// The master that it took over from and that has not ended yet, whose child it is then.
    pub(super) fn predecessor(self) -> Option<Self> {
        let parent = proc::stat(self.0).ok().flatten()?.parent;
        Some(Self(parent)).filter(|parent| parent.is_still())
    }

    /// Its workers, and those of its predecessor that are shutting down. Other children (cache
    /// manager, cache loader) are left out.
    ///
    /// # Errors
    /// When the kernel does not tell the children of a process (`CONFIG_PROC_CHILDREN`).
    pub(super) fn workers(self) -> Result<Workers, NginxError> {
        let mut workers = self.own_workers()?;
        if let Some(Ok(before)) = self.predecessor().map(Self::own_workers) {
            workers.leaving.extend(before.leaving);
        }
        Ok(workers)
    }

    /// Its workers, without those of a predecessor.
    ///
    /// # Errors
    /// As [`Master::workers`].
    pub(super) fn own_workers(self) -> Result<Workers, NginxError> {
        // The list may skip a child while another one exits (proc(5)); a second look has it.
        let mut children = self.children()?;
        children.extend(self.children()?);
        children.sort_unstable();
        children.dedup();
        let mut workers = Workers::default();
        for pid in children {
            match command(pid).map_or(Title::Other, |command| Title::of(&command)) {
                // Between its fork and its new title a worker looks like its master.
                Title::Worker | Title::Master => workers.accepting.push(pid),
                Title::Leaving => workers.leaving.push(pid),
                Title::Other => {}
            }
        }
        Ok(workers)
    }

    fn children(self) -> Result<Vec<i32>, NginxError> {
        let path = format!("/proc/{0}/task/{0}/children", self.0);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()),
            Err(_) if !self.is_still() => Err(self.gone()),
            Err(source) => Err(NginxError::Kernel { what: format!("read {path}"), source }),
        }
    }

    /// Asks it to load its configuration again.
    ///
    /// # Errors
    /// When it is gone, or we may not signal it.
    pub(super) fn reload(self) -> Result<(), NginxError> {
        match pidfd::signal_checked(self.0, Signal::HUP, || self.is_still()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.gone()),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(self.gone()),
            Err(source) => {
                let what = format!("send SIGHUP to nginx's master, process {}", self.0);
                Err(NginxError::Kernel { what, source })
            }
        }
    }

    /// The error that says that it ended.
    pub(super) fn gone(self) -> NginxError {
        NginxError::NotRunning { why: format!("its master, process {}, has ended", self.0) }
    }
}

/// Whether one of `workers`, which were seen as workers, may still accept connections.
pub(super) fn any_accepts(workers: &[i32]) -> bool {
    workers.iter().any(|pid| {
        command(*pid)
            .is_some_and(|command| matches!(Title::of(&command), Title::Worker | Title::Master))
    })
}

/// Workers of any nginx that are shutting down and have lost their master, which may have been
/// ours: nothing tells any more. Looks at every process.
///
/// # Errors
/// When /proc cannot be read.
pub(super) fn orphans() -> Result<Vec<i32>, NginxError> {
    let pids = proc::pids().map_err(|source| NginxError::Kernel {
        what: "look for nginx workers that lost their master".to_owned(),
        source,
    })?;
    Ok(pids.into_iter().filter(|pid| is_leaving(*pid) && !has_master(*pid)).collect())
}

/// Whether `pid` is a worker that is shutting down.
pub(super) fn is_leaving(pid: i32) -> bool {
    command(pid).is_some_and(|command| Title::of(&command) == Title::Leaving)
}

/// What cannot be told has ended meanwhile.
fn has_master(pid: i32) -> bool {
    proc::stat(pid).ok().flatten().is_none_or(|stat| Master(stat.parent).is_still())
}

/// The title of a process: its command line up to the first NUL. `None` when it has ended.
fn command(pid: i32) -> Option<String> {
    let bytes: io::Result<Vec<u8>> = std::fs::read(format!("/proc/{pid}/cmdline"));
    let bytes = bytes.ok().filter(|bytes| !bytes.is_empty())?;
    let title = bytes.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(title).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_told_apart() {
        for (command, title) in [
            ("nginx: master process /usr/sbin/nginx -c /x.conf", Title::Master),
            ("nginx: worker process", Title::Worker),
            ("nginx: worker process is shutting down", Title::Leaving),
            ("nginx: cache manager process", Title::Other),
            ("/usr/sbin/nginx", Title::Other),
            ("tail -f nginx: master process", Title::Other),
        ] {
            assert_eq!(Title::of(command), title, "{command}");
        }
    }

    #[test]
    fn a_pid_that_is_no_master_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nginx.pid");
        assert!(matches!(Master::find(&file), Err(NginxError::NotRunning { .. })));
        for text in ["", "0\n", "-4\n", "x\n", "999999999\n"] {
            std::fs::write(&file, text).unwrap();
            assert!(matches!(Master::find(&file), Err(NginxError::NotRunning { .. })), "{text:?}");
        }
        std::fs::write(&file, format!("{}\n", std::process::id())).unwrap();
        assert!(matches!(Master::find(&file), Err(NginxError::NotMaster { .. })));
    }
}
