//! Draining: until no request can be on an instance any more (`T2`).

use std::{path::Path, time::Duration};

use tokio::time::Instant;

use super::{Draining, NginxError, blocking::blocking, master::Master};
use crate::{config, ident::Port, sys::sockets};

/// A request may have chosen its member just before the switch and be on the wire only a moment
/// later, so two looks this far apart must find nothing.
const APART: Duration = Duration::from_millis(50);

/// The first and the longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// What is left now. Without a running nginx only connections count.
pub(super) fn left(pid_file: &Path, port: Port) -> Result<Draining, NginxError> {
    let old_workers = match Master::find(pid_file).and_then(Master::workers) {
        Ok(workers) => workers.leaving,
        Err(NginxError::NotRunning { .. } | NginxError::NotMaster { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let connections = sockets::established(port.get()).map_err(|source| NginxError::Kernel {
        what: format!("count the connections to port {port}"),
        source,
    })?;
    Ok(Draining { old_workers, connections })
}

/// See [`super::Nginx::drain`].
pub(super) async fn drain(
    config: &config::Nginx,
    port: Port,
    deadline: Duration,
    tell: &(dyn Fn(&Draining) + Send + Sync),
) -> Result<Draining, NginxError> {
    let end = Instant::now() + deadline;
    let (mut pause, longest) = PAUSE;
    let mut told = None;
    let mut empty_since: Option<Instant> = None;
    loop {
        let pid_file = config.pid_file.clone();
        let left = blocking(move || left(&pid_file, port)).await?;
        if told.as_ref() != Some(&left) {
            tell(&left);
            told = Some(left.clone());
        }
        let now = Instant::now();
        empty_since = if left.is_done() { empty_since.or(Some(now)) } else { None };
        let settled = empty_since.is_some_and(|since| now.duration_since(since) >= APART);
        if settled || now >= end {
            return Ok(left);
        }
        let wait = if left.is_done() { APART } else { pause };
        tokio::time::sleep(wait.min(end.duration_since(now))).await;
        pause = (pause * 2).min(longest);
    }
}
