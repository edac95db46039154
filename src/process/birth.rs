//! Between clone3(2) and a proved execve(2).

use std::{
    io::{self, PipeReader, Read},
    os::fd::OwnedFd,
    path::PathBuf,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, Signal, WaitOptions},
};
use tokio::{io::AsyncReadExt, net::unix::pipe, time::timeout};

use super::{
    ProcessError, SpawnSpec, Tree,
    confine::{self, Request},
};
use crate::{
    ident::InstanceId,
    sys::{
        pidfd,
        spawn::{self, Stage, Trouble, Verdict},
    },
};

/// How long execve(2) may take: a file system may be slow, but not for ever.
pub(super) const EXEC_WITHIN: Duration = Duration::from_secs(10);

/// How long a child that failed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// A child whose execve is not proved; killed when nobody is left to learn the outcome.
pub(super) struct Unproven<'a> {
    pub(super) name: &'a InstanceId,
    pub(super) spec: &'a SpawnSpec,
    pub(super) program: PathBuf,
    pub(super) tree: Option<Tree>,
    /// What it was asked to give up.
    pub(super) request: Request,
}

impl Unproven<'_> {
    /// Waits for the child's verdict.
    pub(super) async fn prove(mut self, verdict: OwnedFd) -> Result<Tree, ProcessError> {
        let error = match timeout(EXEC_WITHIN, read_verdict(verdict)).await {
            Ok(Ok(Verdict::Runs(refused))) => {
                for trouble in &refused {
                    self.request.note(trouble);
                }
                let tree = self.tree.take().ok_or(ProcessError::NoProgram)?;
                return Ok(tree.confined_by(std::mem::take(&mut self.request)));
            }
            Ok(Ok(Verdict::NeverRan)) => ProcessError::NeverRan { instance: self.name.clone() },
            Ok(Ok(Verdict::Failed(trouble))) if confine::is_asked_for(trouble.stage) => {
                self.request.note(&trouble);
                let refusals = self.request.refused().to_vec();
                ProcessError::Refused { instance: self.name.clone(), refusals }
            }
            Ok(Ok(Verdict::Failed(trouble))) => self.stage_error(trouble),
            Ok(Err(source)) => ProcessError::Kernel { action: "read a child's verdict", source },
            Err(_) => ProcessError::Hung { program: self.program.clone(), after: EXEC_WITHIN },
        };
        if let Some(tree) = &self.tree {
            // It is on its way out; the next start must not meet it. What it is stuck in is told
            // by that start.
            tree.kill_main();
            let _ = timeout(GONE_WITHIN, tree.exited()).await;
        }
        Err(error)
    }

    fn stage_error(&self, Trouble { stage, source, .. }: Trouble) -> ProcessError {
        let child =
            |stage, source| ProcessError::Child { instance: self.name.clone(), stage, source };
        match stage {
            Stage::Exec => ProcessError::Exec { program: self.program.clone(), source },
            Stage::Directory => {
                ProcessError::Directory { directory: self.spec.directory.clone(), source }
            }
            Stage::User => ProcessError::Become { who: self.who(), source },
            Stage::Stdio => child("its standard descriptors", source),
            Stage::Session => child("a session of its own", source),
            _ => child("its confinement", source),
        }
    }

    fn who(&self) -> String {
        let user = self.spec.user.as_ref().map(|user| format!("user `{user}`"));
        let group = self.spec.group.as_ref().map(|group| format!("group `{group}`"));
        user.into_iter().chain(group).collect::<Vec<_>>().join(" and ")
    }
}

impl Drop for Unproven<'_> {
    fn drop(&mut self) {
        if let Some(tree) = &self.tree {
            // It may run, and have children.
            tree.kill_all();
        }
    }
}

/// A child that was lent the daemon's memory has told all before its parent went on.
async fn read_verdict(pipe: OwnedFd) -> io::Result<Verdict> {
    let mut message = Vec::new();
    if is_complete(&pipe)? {
        PipeReader::from(pipe).read_to_end(&mut message)?;
    } else {
        pipe::Receiver::from_owned_fd(pipe)?.read_to_end(&mut message).await?;
    }
    Ok(spawn::verdict(&message))
}

/// Whether nobody has its other end any more.
fn is_complete(pipe: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(pipe, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&now)))?;
    Ok(fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP)))
}

/// Ends a child of ours that could not even be watched, and reaps it on another thread. Its pid is
/// its own until then.
pub(super) fn abandon(pid: i32) {
    let _ = pidfd::signal_checked(pid, Signal::KILL, || true);
    tokio::task::spawn_blocking(move || {
        rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty())
    });
}
