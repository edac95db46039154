//! What nginx serves, and the cases told apart in which it does not tell.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Edited, Nginx, NginxError,
    master::Workers,
    proof::{self, Ask},
};

/// How long a running nginx may be silent before it counts.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two looks. A silent nginx that fails at once, as without its socket, is asked no oftener.
const PAUSE: Duration = Duration::from_millis(100);

/// What nginx answered, and what its processes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What the proof socket says is served.
    pub served: Edited,
    /// The master process.
    pub master: i32,
    /// Workers that accept connections.
    pub workers: Vec<i32>,
    /// Workers that are shutting down: old ones, which may still send to any former member.
    pub leaving: Vec<i32>,
}

/// What is known of what nginx serves.
#[derive(Debug)]
pub enum Serving {
    /// nginx said it itself: this is served, whatever the file says.
    Answered(Observed),
    /// No nginx runs and nobody listens on the proof socket: nothing is served. What the file
    /// says, if there is one, is what nginx will start with.
    NotRunning(Option<Edited>),
    /// A master runs, or workers that lost theirs, and what they serve is not known: the file says
    /// nothing of it. Either our file is not in nginx's configuration (not included, or not
    /// reloaded since it was written: publish), or nginx hangs, or it has lost its master.
    Silent(NginxError),
}

/// See [`Nginx::observe`].
pub(super) async fn observe(nginx: &Nginx, how: Ask) -> Result<Observed, NginxError> {
    let master = nginx.master().await?;
    let served = proof::ask(&nginx.config.proof_socket, how).await?;
    nginx.remember(&served);
    match master.workers() {
        Ok(Workers { accepting, leaving }) => {
            Ok(Observed { served, master: master.0, workers: accepting, leaving })
        }
        Err(error) => Err(nginx.bereaved(error).await),
    }
}

/// See [`Nginx::serving`].
pub(super) async fn serving(nginx: &Nginx) -> Result<Serving, NginxError> {
    let end = Instant::now() + PATIENCE;
    // The first answer may come on a connection to a worker that hangs; the second has all the time.
    let mut how = Ask::Quick;
    loop {
        let error = match observe(nginx, how).await {
            Ok(observed) => return Ok(Serving::Answered(observed)),
            Err(NginxError::NotRunning { .. }) => {
                return Ok(Serving::NotRunning(nginx.on_disk()?));
            }
            Err(error) => error,
        };
        match error {
            // A master that is just starting has no title yet.
            NginxError::NoAnswer { .. }
            | NginxError::Orphans { .. }
            | NginxError::NotMaster { .. }
            | NginxError::Upgrading { .. }
                if Instant::now() < end => {}
            NginxError::NoAnswer { .. } | NginxError::Orphans { .. } => {
                return Ok(Serving::Silent(error));
            }
            _ => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
        how = Ask::Patient;
    }
}
