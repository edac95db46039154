//! Draining: until no request can be on an instance any more (`T2`).

use std::{io, path::Path, time::Duration};

use tokio::time::Instant;

use super::{
    Draining, Nginx, NginxError, Patience,
    blocking::blocking,
    followers::Follows,
    master::{self, Master},
};
use crate::{
    ident::Port,
    process::{Callers, Calls},
    sys::sockets,
};

/// A request may have chosen its member just before the switch and be on the wire only a moment
/// later, so two looks this far apart must find nothing.
const APART: Duration = Duration::from_millis(50);

/// The same after a flip: the worker that chose goes on accepting, and may still read the request.
const APART_AFTER_FLIP: Duration = Duration::from_secs(1);

/// The first and the longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// The shortest time between two looks at every process of the host.
const SCAN: Duration = Duration::from_millis(500);

/// What was found before.
#[derive(Debug, Clone, Default)]
struct Orphans {
    pids: Vec<i32>,
    scanned: Option<Instant>,
}

impl Orphans {
    /// Those that are left. While there is other reason to wait it does not look for new ones: an
    /// old worker whose master dies meanwhile is found before the wait can end.
    fn left(&mut self, busy: bool) -> Result<&[i32], NginxError> {
        self.pids.retain(|pid| master::is_leaving(*pid));
        let due = self.scanned.is_none_or(|scanned| scanned.elapsed() >= SCAN);
        if !busy && self.pids.is_empty() && due {
            self.pids = master::orphans()?;
            self.scanned = Some(Instant::now());
        }
        Ok(&self.pids)
    }
}

/// What is left now. Workers that still accept are none of it, even without a master: they have
/// what was published last.
fn look(
    pid_file: &Path,
    follows: &Follows,
    orphans: &mut Orphans,
    callers: &mut Callers,
) -> Result<Draining, NginxError> {
    let mut old_workers = match Master::find(pid_file).and_then(Master::workers) {
        Ok(workers) => workers.leaving,
        Err(NginxError::NotRunning { .. } | NginxError::NotMaster { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    old_workers.retain(|pid| !follows.elsewhere(*pid));
    let Calls { many, oldest } = callers.look().map_err(|error| NginxError::Kernel {
        what: "see who is connected to an instance".to_owned(),
        source: io::Error::other(error),
    })?;
    let oldest = Duration::from_secs(oldest.as_secs());
    let mut left = Draining { old_workers, connections: many, oldest };
    left.old_workers.extend(orphans.left(!left.is_done())?);
    Ok(left)
}

/// A client of `workers` may begin a request. Whoever has one under way is not such: it is passed on
/// by a connection of its own, and an old worker closes both after it.
fn may_ask(workers: &[i32]) -> bool {
    let silent = |pid: &i32| sockets::ends(*pid).map_or(true, |ends| ends.accepted > ends.opened);
    workers.iter().any(silent)
}

/// See [`super::Nginx::drain`].
pub(super) async fn drain(
    nginx: &Nginx,
    port: Port,
    patience: Patience,
    tell: &(dyn Fn(&Draining) + Send + Sync),
) -> Result<Draining, NginxError> {
    let begun = Instant::now();
    let end = begun + patience.deadline;
    let (mut pause, longest) = PAUSE;
    let (mut orphans, mut callers) = (Orphans::default(), Callers::new(port));
    let mut told = None;
    let mut empty_since: Option<Instant> = None;
    loop {
        let pid_file = nginx.config.pid_file.clone();
        let follows = nginx.follows(port);
        let apart = if follows.flips() { APART_AFTER_FLIP } else { APART };
        let left: Draining;
        (left, orphans, callers) = blocking(move || {
            let left = look(&pid_file, &follows, &mut orphans, &mut callers)?;
            Ok((left, orphans, callers))
        })
        .await?;
        if told.as_ref() != Some(&left) {
            tell(&left);
            told = Some(left.clone());
        }
        let now = Instant::now();
        empty_since = if left.is_done() { empty_since.or(Some(now)) } else { None };
        let settled = empty_since.is_some_and(|since| now.duration_since(since) >= apart);
        if settled || now >= end {
            return Ok(left);
        }
        if patience.grace.is_some_and(|grace| now.duration_since(begun) >= grace) {
            let workers = left.old_workers.clone();
            if !blocking(move || Ok(may_ask(&workers))).await? {
                return Ok(left);
            }
        }
        let wait = if left.is_done() { APART } else { pause };
        tokio::time::sleep(wait.min(end.duration_since(now))).await;
        pause = (pause * 2).min(longest);
    }
}
