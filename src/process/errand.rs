//! A program that is run to its end beside an instance, such as one that asks how it is.

use std::{fs, io::ErrorKind, os::fd::OwnedFd, time::Duration};

use rustix::{io::Errno, pipe::PipeFlags};
use tokio::{
    net::unix::pipe::Receiver,
    time::{Instant, timeout_at},
};

use super::{
    Exit, Launcher, ProcessError, SpawnSpec, Stream, Tree, launcher::Berth, tree::end_place,
};
use crate::ident::InstanceId;

/// What is kept of its output, in bytes. It may write more, which is read and forgotten.
const KEPT: usize = 4096;

/// What is read at once, in bytes.
const PIECE: usize = 4096;

/// What a pipe holds, in bytes: pipe(7).
const PIPE: usize = 65_536;

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

/// A program that is run to its end, and between which files.
#[derive(Debug)]
pub struct Errand<'a> {
    /// For whom.
    pub of: &'a InstanceId,
    /// Tells it from what else is run for the same at the same time.
    pub name: &'a str,
    /// What is run.
    pub spec: &'a SpawnSpec,
    /// For how long at most.
    pub within: Duration,
    /// What it reads and writes.
    pub files: Files,
}

/// Files in place of the pipes of an errand, opened by the daemon: who runs it needs no right to them.
#[derive(Debug, Default)]
pub struct Files {
    /// Its standard input; `None`: nothing.
    pub input: Option<OwnedFd>,
    /// Its standard output; `None`: it is heard.
    pub output: Option<OwnedFd>,
}

/// Hears what an errand writes, as it comes: pieces, not lines.
pub type Hear<'a> = &'a mut (dyn FnMut(Stream, &[u8]) + Send);

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
        let mut said = Vec::new();
        let mut hear = |_, more: &[u8]| keep(&mut said, more);
        let exit = self.run_heard(of, errand, spec, within, &mut hear).await?;
        Ok(Ran { exit, said: String::from_utf8_lossy(&said).trim().to_owned() })
    }

    /// As [`Launcher::run`], for one whose whole output matters. `None`: it did not end in time.
    ///
    /// # Errors
    /// As [`Launcher::run`].
    pub async fn run_heard(
        &self,
        of: &InstanceId,
        errand: &str,
        spec: &SpawnSpec,
        within: Duration,
        hear: Hear<'_>,
    ) -> Result<Option<Exit>, ProcessError> {
        let files = Files::default();
        self.run_between(Errand { of, name: errand, spec, within, files }, hear).await
    }

    /// As [`Launcher::run_heard`], with files in place of its standard input or output.
    ///
    /// # Errors
    /// As [`Launcher::run`].
    pub async fn run_between(
        &self,
        errand: Errand<'_>,
        hear: Hear<'_>,
    ) -> Result<Option<Exit>, ProcessError> {
        let Errand { of, name, spec, within, files } = errand;
        let until = Instant::now() + within;
        let berth = Berth { name: of, key: format!("{of}.{name}") };
        self.clear(&berth).await?;
        let (mut out, out_end) = Ear::new(Stream::Stdout)?;
        let (mut err, err_end) = Ear::new(Stream::Stderr)?;
        let ends = || {
            let copy =
                |end: &OwnedFd| end.try_clone().map_err(ProcessError::kernel("copy a descriptor"));
            let input = files.input.as_ref().map_or_else(|| self.nothing(), copy)?;
            Ok([input, copy(files.output.as_ref().unwrap_or(&out_end))?, copy(&err_end)?])
        };
        let spawned = timeout_at(until, self.start(&berth, spec, &ends)).await;
        drop((out_end, err_end));
        let Ok(spawned) = spawned else { return Ok(None) };
        let tree = Bound(spawned?);
        let exit = timeout_at(until, ended(&tree.0, &mut out, &mut err, hear)).await.ok();
        tree.0.end(END_DEADLINE).await?;
        out.drain(hear);
        err.drain(hear);
        Ok(exit)
    }

    /// Ends what is left of an errand, where an earlier daemon was killed in the middle of it.
    ///
    /// # Errors
    /// When something could not be ended.
    pub async fn end_errand(&self, of: &InstanceId, errand: &str) -> Result<(), ProcessError> {
        self.clear(&Berth { name: of, key: format!("{of}.{errand}") }).await
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

/// The reading end of what a program writes.
struct Ear {
    stream: Stream,
    /// `None` once nobody writes any more.
    pipe: Option<Receiver>,
}

impl Ear {
    /// With the end for whoever writes.
    fn new(stream: Stream) -> Result<(Self, OwnedFd), ProcessError> {
        let (out, end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|e| ProcessError::kernel("make a pipe")(e.into()))?;
        let out = Receiver::from_owned_fd(out).map_err(ProcessError::kernel("read a pipe"))?;
        Ok((Self { stream, pipe: Some(out) }, end))
    }

    /// There is something to hear; never, once nobody writes any more.
    async fn stirs(&self) {
        match &self.pipe {
            Some(pipe) if pipe.readable().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }

    /// Hears as much as a pipe holds: all that is there, or, of somebody who writes without pause,
    /// so much that others come to their turn.
    fn empty(&mut self, hear: Hear<'_>) {
        let mut buffer = [0; PIECE];
        for _ in 0..=PIPE / PIECE {
            let Some(pipe) = &self.pipe else { return };
            match pipe.try_read(&mut buffer) {
                Ok(n @ 1..) => hear(self.stream, buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => self.pipe = None,
            }
        }
    }

    /// Hears what the pipe still holds, when nobody is left to write more. The runtime is not asked: it
    /// may not have seen yet that there is something.
    fn drain(&self, hear: Hear<'_>) {
        let mut buffer = [0; PIECE];
        for _ in 0..=PIPE / PIECE {
            let Some(pipe) = &self.pipe else { return };
            match rustix::io::read(pipe, &mut buffer) {
                Ok(n @ 1..) => hear(self.stream, buffer.get(..n).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }
}

/// Hears both until the main process has ended.
async fn ended(tree: &Tree, out: &mut Ear, err: &mut Ear, hear: Hear<'_>) -> Exit {
    let exited = tree.exited();
    tokio::pin!(exited);
    loop {
        // What waits in both at once is most likely in this order.
        tokio::select! {
            biased;
            exit = &mut exited => return exit,
            () = out.stirs() => out.empty(hear),
            () = err.stirs() => err.empty(hear),
        }
    }
}

fn keep(said: &mut Vec<u8>, more: &[u8]) {
    let room = KEPT.saturating_sub(said.len());
    said.extend(more.iter().take(room));
}
