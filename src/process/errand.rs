//! A program that is run to its end beside an instance, such as one that asks how it is.

use std::{fs, io::ErrorKind, os::fd::OwnedFd, time::Duration};

use rustix::pipe::PipeFlags;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    time::{Instant, timeout_at},
};

use super::{Exit, Launcher, ProcessError, SpawnSpec, Tree, launcher::Berth, tree::end_place};
use crate::ident::InstanceId;

/// What is kept of its output, in bytes. It may write more, which is read and forgotten.
const KEPT: usize = 4096;

/// How long the kernel may take to end what is left of it.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// What became of an errand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended; `None`: it did not in time, and was ended.
    pub exit: Option<Exit>,
    /// The beginning of what it wrote to its standard output and error.
    pub said: String,
}

impl Launcher {
    /// Runs `spec` on behalf of `of`, for at most `within`, and ends whatever is left of it then.
    /// `errand` tells apart what is run for one instance at the same time; what an earlier daemon
    /// left of the same is ended first. When this future is dropped, its processes are killed.
    ///
    /// # Errors
    /// When it cannot be started, or what is left of it cannot be ended.
    pub async fn run(
        &self,
        of: &InstanceId,
        errand: &str,
        spec: &SpawnSpec,
        within: Duration,
    ) -> Result<Ran, ProcessError> {
        let until = Instant::now() + within;
        let berth = Berth { name: of, key: format!("{of}.{errand}") };
        self.clear(&berth).await?;
        let (out, end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|e| ProcessError::kernel("make a pipe")(e.into()))?;
        let mut out = Receiver::from_owned_fd(out).map_err(ProcessError::kernel("read a pipe"))?;
        let spawned = timeout_at(until, self.start(&berth, spec, &|| both(&end))).await;
        drop(end);
        let Ok(spawned) = spawned else { return Ok(Ran { exit: None, said: String::new() }) };
        let tree = Bound(spawned?);
        let mut said = Vec::new();
        let exit = timeout_at(until, ended(&tree.0, &mut out, &mut said)).await.ok();
        tree.0.end(END_DEADLINE).await?;
        let mut buffer = [0; KEPT];
        // Nobody is left to write more than the pipe holds.
        while let Ok(n @ 1..) = out.try_read(&mut buffer) {
            keep(&mut said, buffer.get(..n).unwrap_or_default());
        }
        Ok(Ran { exit, said: String::from_utf8_lossy(&said).trim().to_owned() })
    }

    /// Ends what is left of the same errand. A leaf that was killed before is of no more use, so it
    /// is always made anew.
    async fn clear(&self, berth: &Berth<'_>) -> Result<(), ProcessError> {
        for place in self.remembered(&berth.key)? {
            end_place(berth.name, &place, END_DEADLINE).await?;
            place.retire();
        }
        let _ = fs::remove_file(self.session_file(&berth.key));
        Ok(())
    }
}

/// A tree that does not outlive who waits for it.
struct Bound(Tree);

impl Drop for Bound {
    fn drop(&mut self) {
        self.0.kill_all();
    }
}

fn both(end: &OwnedFd) -> Result<[OwnedFd; 2], ProcessError> {
    let copy = || end.try_clone().map_err(ProcessError::kernel("copy a descriptor"));
    Ok([copy()?, copy()?])
}

/// Reads `out` until the main process has ended.
async fn ended(tree: &Tree, out: &mut Receiver, said: &mut Vec<u8>) -> Exit {
    let mut buffer = [0; KEPT];
    let reading = async {
        loop {
            match out.read(&mut buffer).await {
                Ok(n @ 1..) => keep(said, buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return std::future::pending().await,
            }
        }
    };
    tokio::select! {
        exit = tree.exited() => exit,
        never = reading => never,
    }
}

fn keep(said: &mut Vec<u8>, more: &[u8]) {
    let room = KEPT.saturating_sub(said.len());
    said.extend(more.iter().take(room));
}
