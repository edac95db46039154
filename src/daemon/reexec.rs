//! Another program takes the place of this one: the same pid, so that systemd and the children stay,
//! and the control socket, so that nobody who connects is refused.

use std::{
    ffi::OsString,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use super::{Daemon, DaemonError, estate, problems};
use crate::{
    api::{
        operations::Answer,
        types::{Reexec, Version},
    },
    config::Config,
    deploy::{DeployError, record::Deploy},
    process::{Listener, ProcessError},
    rollout::record::Rollout,
    store, sys,
};

/// How long a program may take to show that it can take over.
const PROOF: Duration = Duration::from_secs(60);
/// The option that makes a program only look.
const CHECK: &str = "--check-state";

/// A program that has shown that it can take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Successor {
    program: PathBuf,
    config: String,
}

/// Everything is ready for another program in this one's place.
#[derive(Debug)]
pub struct Handover {
    successor: Successor,
    control: OwnedFd,
    listeners: Vec<(String, Listener)>,
}

impl Handover {
    pub(super) fn new(
        successor: Successor,
        control: OwnedFd,
        listeners: impl Iterator<Item = (String, Listener)>,
    ) -> Self {
        Self { successor, control, listeners: listeners.collect() }
    }

    /// Runs it. Returns only when that failed.
    #[must_use]
    pub fn carry_out(self) -> io::Error {
        let Self { successor: Successor { program, config }, control, listeners } = self;
        let open = |(name, socket): (String, Listener)| Ok((name, socket.descriptor()?));
        let listeners: Result<Vec<_>, ProcessError> = listeners.into_iter().map(open).collect();
        let listeners = match listeners {
            Ok(listeners) => listeners,
            Err(e) => return io::Error::other(e),
        };
        let mut argv: Vec<OsString> = vec![program.into(), "--config".into(), config.into()];
        argv.extend(estate::words(&control, &listeners).into_iter().map(OsString::from));
        let inherited: Vec<OwnedFd> =
            listeners.into_iter().map(|(_, fd)| fd).chain([control]).collect();
        sys::exec::replace(argv, &inherited)
    }
}

/// Whether this program could take over from the daemon that runs by the configuration at `path`:
/// it understands that, and everything in the state. Changes nothing.
///
/// # Errors
/// What it does not understand.
pub fn check_state(path: &Path) -> Result<(), DaemonError> {
    let config = Config::load(path)?;
    let unfinished = store::unfinished(&config.state_dir)?;
    for row in unfinished.rollouts {
        Rollout::read(&row)?;
    }
    for row in unfinished.deploys {
        Deploy::read(&row).map_err(|why| DeployError::Unreadable(row.id, why))?;
    }
    Ok(())
}

impl Daemon {
    /// Lets the program that is installed now show that it can take over, and begins to make way.
    pub(super) async fn make_way(&self, before: Version) -> Answer<Reexec> {
        let program = installed()
            .map_err(|e| problems::failed(&format!("cannot tell which program this is: {e}")))?;
        let successor = Successor { program, config: self.config_path.clone() };
        let after = proved(&successor).await.map_err(|why| {
            let hint = "this aibkd goes on; install one that can, or put the old one back";
            let name = successor.program.display();
            problems::refused(&format!("{name} cannot take over: {why}"), Some(hint.to_owned()))
        })?;
        self.record("daemon.reexec", format!("aibkd {} makes way for {after}", before.daemon));
        self.replaced.send_replace(Some(successor));
        Ok(Reexec { before, after })
    }
}

/// The program at the path that this one was started from: after an upgrade, another one.
fn installed() -> io::Result<PathBuf> {
    let link = std::fs::read_link("/proc/self/exe")?;
    // proc(5): of a file that was replaced.
    let path = link.to_string_lossy();
    Ok(path.strip_suffix(" (deleted)").map_or(link.clone(), PathBuf::from))
}

/// Its version, or why it is none that could take over.
async fn proved(successor: &Successor) -> Result<String, String> {
    let mut check = tokio::process::Command::new(&successor.program);
    check.args([CHECK, "--config", &successor.config]).stdin(Stdio::null()).kill_on_drop(true);
    check.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
    let output = match tokio::time::timeout(PROOF, check.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(e)) => return Err(format!("it cannot be run: {e}")),
        Err(_) => return Err(format!("it has not said so in {PROOF:?}")),
    };
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let version = words(&output.stdout);
    if output.status.success() && !version.is_empty() {
        Ok(version)
    } else {
        Err(words(&output.stderr))
    }
}
