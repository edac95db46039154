//! `swap`, `rolling` and `rollback`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    Ended,
    args::Patience,
    daemon::{Daemon, Way},
    failure::Failure,
    follow,
    queue::Turn,
    screen::Screen,
};
use crate::{
    api::types::Roll,
    ident::{InstanceId, ServiceName},
};

/// What to bring into service, and where.
#[derive(Debug, Args)]
pub(super) struct RollArgs {
    /// The service, as `aibkctl status` shows it
    #[arg(value_parser = service_name)]
    service: ServiceName,
    /// Directory of the release to bring in; without it, what the configured directory is now
    /// (a swap takes what is ready in the other slot, if something is)
    #[arg(long, value_name = "DIR")]
    release: Option<PathBuf>,
    /// Do it although requests may be lost: for a service with one slot
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    turn: Turn,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn run(way: Way, args: &RollArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let release = args.release.as_deref().map(whole_path).transpose()?;
    let how = Roll { release, force: args.force };
    let ask = async || daemon.roll(way, &args.service, &how).await;
    let limit = args.patience.limit.timeout;
    let begun = args.turn.take(&args.service, limit, (daemon, screen), ask).await?;
    follow::begun(begun, &args.patience, follow::Goal::Done, daemon, screen).await
}

/// Which service goes back.
#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The service, as `aibkctl status` shows it
    #[arg(value_parser = service_name)]
    service: ServiceName,
    #[command(flatten)]
    turn: Turn,
    #[command(flatten)]
    patience: Patience,
}

/// `rollback`: what it goes back to is not chosen.
pub(super) async fn back(args: &RollbackArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let ask = async || daemon.roll(Way::Rollback, &args.service, &Roll::default()).await;
    let limit = args.patience.limit.timeout;
    let begun = args.turn.take(&args.service, limit, (daemon, screen), ask).await?;
    follow::begun(begun, &args.patience, follow::Goal::Done, daemon, screen).await
}

/// An instance is taken for what it was meant as: its service.
pub(super) fn service_name(given: &str) -> Result<ServiceName, String> {
    given.parse().map_err(|e: crate::ident::InvalidName| match given.parse::<InstanceId>() {
        Ok(InstanceId { service, .. }) => {
            format!("`{given}` is an instance; name its service: `{service}`")
        }
        Err(_) => e.to_string(),
    })
}

/// The daemon has another working directory than we.
pub(super) fn whole_path(path: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(path).map_err(|e| {
        Failure::here(
            format!("cannot tell where {} is: {e}", path.display()),
            "name the release by its whole path",
        )
    })?;
    whole.into_os_string().into_string().map_err(|path| {
        Failure::here(
            format!("the path {} is not UTF-8", path.display()),
            "give the release a name in UTF-8",
        )
    })
}
