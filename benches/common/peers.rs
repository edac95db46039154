//! Other supervisors of processes, as Debian has them.
#![allow(dead_code, reason = "no benchmark uses all of it")]

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::Signal;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// <http://supervisord.org>
    Supervisord,
    /// <https://smarden.org/runit/>
    Runit,
}

impl Peer {
    /// Those that are on this host.
    pub fn installed() -> Vec<Self> {
        let there = |peer: &Self| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| dir.join(peer.name()).is_file())
        };
        [Self::Supervisord, Self::Runit].into_iter().filter(there).collect()
    }

    /// Its program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Supervisord => "supervisord",
            Self::Runit => "runsvdir",
        }
    }

    /// What makes it end its services.
    pub const fn stop_signal(self) -> Signal {
        match self {
            Self::Supervisord => Signal::TERM,
            // runsvdir(8): it ends its runsv processes, and they their services.
            Self::Runit => Signal::HUP,
        }
    }

    /// What it looks after its services with, beside its main process `pid`.
    pub fn helpers(self, pid: i32) -> Vec<i32> {
        match self {
            Self::Supervisord => vec![],
            Self::Runit => children_of(pid),
        }
    }

    /// Its configuration for as many services in `home`; the command that starts it.
    pub fn prepare(self, home: &Path, services: usize, program: &Path, argument: &Path) -> Command {
        let run = format!("{} {}", program.display(), argument.display());
        let mut command = Command::new(self.name());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match self {
            Self::Supervisord => {
                let dir = home.display();
                let mut text = format!(
                    "[supervisord]\nnodaemon=true\nminfds=8192\nminprocs=2000\n\
                     logfile={dir}/log\npidfile={dir}/pid\nchildlogdir={dir}\n"
                );
                for n in 0..services {
                    let _ = writeln!(text, "[program:s{n}]\ncommand={run}\nstartsecs=0");
                }
                fs::write(home.join("supervisord.conf"), text).expect("its configuration");
                command.arg("-c").arg(home.join("supervisord.conf"));
            }
            Self::Runit => {
                for n in 0..services {
                    let dir = home.join(format!("services/s{n}"));
                    fs::create_dir_all(&dir).expect("a directory");
                    let file = dir.join("run");
                    fs::write(&file, format!("#!/bin/sh\nexec {run}\n")).expect("a file");
                    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
                }
                command.arg(home.join("services"));
            }
        }
        command
    }
}

fn children_of(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
