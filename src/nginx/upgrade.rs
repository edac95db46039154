//! nginx replaced by another one while it runs: on SIGUSR2 a master starts the new program, which gets
//! its sockets, and until somebody sends the old master SIGQUIT the workers of both accept
//! (<https://nginx.org/en/docs/control.html>). A reload reaches only one of them.

use std::{path::PathBuf, time::Duration};

use tokio::time::Instant;

use super::{Nginx, NginxError, master::Master};

/// How long a change of what is served waits for the end of an upgrade.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// The running master, once it is the only one whose workers accept.
///
/// # Errors
/// [`NginxError::Upgrading`] when two go on side by side, or why there is none.
pub(super) async fn settled(nginx: &Nginx) -> Result<Master, NginxError> {
    let end = Instant::now() + PATIENCE;
    loop {
        let state = match nginx.master().await {
            Ok(master) => match beside(master)? {
                None => return Ok(master),
                Some(error) => error,
            },
            Err(error) => error,
        };
        if !matches!(state, NginxError::Upgrading { .. }) || Instant::now() >= end {
            return Err(state);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// That another master's workers accept beside those of `master`, which took over from it.
pub(super) fn beside(master: Master) -> Result<Option<NginxError>, NginxError> {
    let Some(old) = master.predecessor() else { return Ok(None) };
    let accepts = match old.own_workers() {
        Ok(workers) => !workers.accepting.iter().all(|pid| *pid == master.0),
        Err(NginxError::NotRunning { .. }) => false,
        Err(error) => return Err(error),
    };
    Ok(accepts.then_some(NginxError::Upgrading { old: old.0 }))
}

/// The old master has given up its pid file, and the new one has not written its own yet.
pub(super) fn begun(nginx: &Nginx) -> Option<NginxError> {
    // `NGX_OLDPID_EXT`.
    let mut old = nginx.config.pid_file.clone().into_os_string();
    old.push(".oldbin");
    let old = Master::find(&PathBuf::from(old)).ok()?;
    Some(NginxError::Upgrading { old: old.0 })
}
