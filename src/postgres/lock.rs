//! A lock that is held in the database while something is done: an advisory lock of a session, which
//! is gone with it, whatever becomes of the daemon.

use std::{
    ffi::OsString,
    fs::File,
    future::Future,
    io::Write as _,
    pin::pin,
    sync::{Mutex, PoisonError},
};

use rustix::pipe::PipeFlags;
use tokio::sync::watch;

use super::{Postgres, PostgresError, literal};
use crate::process::{Errand, Exit, Files, ProcessError, Stream};

impl Postgres<'_> {
    /// Does `work` while it holds the lock called `name` in the application's database.
    ///
    /// # Errors
    /// [`PostgresError::Locked`] where somebody else has it: nothing was done.
    pub async fn locked<T>(
        &self,
        name: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, PostgresError> {
        let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
        let (input, mouth) = pipe.map_err(|e| ProcessError::kernel("make a pipe")(e.into()))?;
        let mut mouth = File::from(mouth);
        let ask = format!(
            "SELECT pg_try_advisory_lock(hashtext({}), hashtext(current_database()));\n",
            literal(name)
        );
        mouth.write_all(ask.as_bytes()).map_err(ProcessError::kernel("write to a pipe"))?;
        let options = ["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only"];
        let args: Vec<OsString> = options.map(Into::into).into();
        let spec = self.spec("psql", &args, None)?;
        let (tell, mut told) = watch::channel(None);
        let words = Mutex::new(Vec::new());
        let mut hear = |stream, piece: &[u8]| match (stream, piece.first()) {
            (Stream::Stdout, Some(b't')) => drop(tell.send_replace(Some(true))),
            (Stream::Stdout, Some(b'f')) => drop(tell.send_replace(Some(false))),
            (Stream::Stdout, _) => {}
            (Stream::Stderr, _) => {
                let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                super::keep(&mut words, piece, super::WORDS);
            }
        };
        let files = Files { input: Some(input), output: None };
        let errand = Errand { of: &self.of, name: "lock", spec: &spec, within: self.left(), files };
        // Its reading end is the child's alone once it has begun; at its end of input, it ends.
        let mut session = pin!(self.launcher.run_between(errand, &mut hear));
        let granted = tokio::select! {
            biased;
            answer = told.wait_for(Option::is_some) => answer.is_ok_and(|answer| *answer == Some(true)),
            ended = &mut session => {
                let exit = ended?.unwrap_or(Exit::Unknown);
                let words = words.lock().unwrap_or_else(PoisonError::into_inner);
                let words = String::from_utf8_lossy(&words).trim().to_owned();
                return Err(PostgresError::Failed { program: "psql", exit, words });
            }
        };
        if !granted {
            return Err(PostgresError::Locked);
        }
        let mut work = pin!(work);
        let done = tokio::select! {
            done = &mut work => done,
            // The server is gone, or ended it: what is done fails by itself.
            _ = &mut session => return Ok(work.await),
        };
        drop(mouth);
        let _ = session.await;
        Ok(done)
    }
}
