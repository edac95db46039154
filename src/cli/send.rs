//! An archive, sent to the daemon.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::{Duration, Instant},
};

use super::{daemon::Daemon, failure::Failure, progress::Progress, screen::Screen};
use crate::{
    api::{
        client::Outgoing,
        types::{ArchiveHow, Rollout},
    },
    backup::size,
    ident::AppName,
};

/// How long it may take before it is told how far it is.
const SOON: Duration = Duration::from_secs(1);

/// Stands for standard input.
const STDIN: &str = "-";

/// Sends the archive at `path` to be deployed, and tells how far it is.
pub(super) async fn archive(
    path: &Path,
    (app, how): (&AppName, &ArchiveHow),
    daemon: &Daemon,
    screen: Screen,
) -> Result<Rollout, Failure> {
    let (from, length) = opened(path)?;
    let outgoing = Outgoing::new(from, length)
        .map_err(|e| Failure::here(format!("cannot read {}: {e}", path.display()), "try again"))?;
    let begun = Instant::now();
    let mut progress = None;
    let mut told = |sent| {
        if begun.elapsed() >= SOON {
            let progress = progress.get_or_insert_with(|| Progress::new(screen));
            progress.note("sending", &so_far(sent, length));
        }
    };
    let begun = daemon.deploy_archive(app, how, outgoing, &mut told).await;
    if let Some(progress) = progress {
        progress.close();
    }
    Ok(begun?)
}

type Opened = (Box<dyn Read + Send>, Option<u64>);

/// What is at `path`, and how long that is, where it can be known.
fn opened(path: &Path) -> Result<Opened, Failure> {
    if path == Path::new(STDIN) {
        return Ok((Box::new(io::stdin()), None));
    }
    let unread = |e: io::Error| {
        let what = format!("cannot read {}: {e}", path.display());
        Failure::here(what, "name a .tar or .tar.gz that you may read")
    };
    let file = File::open(path).map_err(unread)?;
    let seen = file.metadata().map_err(unread)?;
    if seen.is_dir() {
        let what = format!("{} is a directory", path.display());
        return Err(Failure::here(what, "pack it first: `tar -czf code.tar.gz -C DIRECTORY .`"));
    }
    Ok((Box::new(file), seen.is_file().then_some(seen.len())))
}

fn so_far(sent: u64, length: Option<u64>) -> String {
    match length {
        Some(length) => format!("{} of {}", size(sent), size(length)),
        None => size(sent),
    }
}
