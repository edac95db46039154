//! `swap`, `promote`, `abort`, `rolling` and `rollback`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    Ended,
    args::Patience,
    daemon::{Daemon, Decision, Way},
    deploy::{self, BackArgs},
    exit::Exit,
    failure::Failure,
    follow,
    queue::Turn,
    screen::{Screen, complain},
};
use crate::{
    api::types::{Roll, RollTogether, TogetherWay},
    ident::{InstanceId, ServiceName},
};

/// What to bring into service, and where.
#[derive(Debug, Args)]
pub(super) struct RollArgs {
    /// The service, as `aibkctl status` shows it; or several, one after another: each after those
    /// that it depends on, else as they are named
    #[arg(value_parser = service_name, required = true, value_name = "SERVICE")]
    services: Vec<ServiceName>,
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

/// The same, and where a swap stops.
#[derive(Debug, Args)]
pub(super) struct SwapArgs {
    #[command(flatten)]
    roll: RollArgs,
    /// Stop before clients see what is new, for `aibkctl promote` or `aibkctl abort`
    #[arg(long)]
    hold: bool,
}

pub(super) async fn rolling(args: &RollArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let how = Roll { hold: false, ..args.how()? };
    args.run((Way::Rolling, &how), follow::Goal::Done, daemon, screen).await
}

pub(super) async fn swap(args: &SwapArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let how = Roll { hold: args.hold, ..args.roll.how()? };
    let goal = if args.hold { follow::Goal::Held } else { follow::Goal::Done };
    args.roll.run((Way::Swap, &how), goal, daemon, screen).await
}

impl RollArgs {
    fn how(&self) -> Result<Roll, Failure> {
        let release = self.release.as_deref().map(whole_path).transpose()?;
        Ok(Roll { release, force: self.force, ..Roll::default() })
    }

    async fn run(
        &self,
        (way, how): (Way, &Roll),
        goal: follow::Goal,
        daemon: &Daemon,
        screen: Screen,
    ) -> Ended {
        if self.services.len() > 1 && (how.release.is_some() || how.hold) {
            let why = "`--release` and `--hold` are of one service: name one, or leave them out";
            complain(&format!("aibkctl: {why}\n"));
            return Ok(Exit::Usage);
        }
        let ask = async || match self.services.as_slice() {
            [service] => daemon.roll(way, service, how).await,
            services => daemon.roll_together(&together(way, services, self.force)).await,
        };
        let limit = self.patience.limit.timeout;
        let begun = self.turn.take(&self.services, limit, (daemon, screen), ask).await?;
        follow::begun(begun, &self.patience, goal, daemon, screen).await
    }
}

/// What becomes of a swap that is held.
#[derive(Debug, Args)]
pub(super) struct DecideArgs {
    /// The service, as `aibkctl status` shows it
    #[arg(value_parser = service_name)]
    service: ServiceName,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn decide(
    decision: Decision,
    args: &DecideArgs,
    daemon: &Daemon,
    screen: Screen,
) -> Ended {
    let goal = match decision {
        Decision::Promote => follow::Goal::Done,
        Decision::Abort => follow::Goal::Undone,
    };
    let decided = daemon.decide(decision, &args.service).await?;
    follow::begun(decided, &args.patience, goal, daemon, screen).await
}

fn together(way: Way, services: &[ServiceName], force: bool) -> RollTogether {
    let way = match way {
        Way::Swap => TogetherWay::Swap,
        Way::Rolling | Way::Rollback => TogetherWay::Rolling,
    };
    RollTogether { way, services: services.iter().map(ToString::to_string).collect(), force }
}

/// Which service goes back.
#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// One service, to its old slot, while that is warm; without it, an application
    #[arg(value_parser = service_name, conflicts_with_all = ["to", "app", "db", "force", "plan"])]
    service: Option<ServiceName>,
    #[command(flatten)]
    app: BackArgs,
    #[command(flatten)]
    turn: Turn,
    #[command(flatten)]
    patience: Patience,
}

/// `rollback`: what a service goes back to is not chosen.
pub(super) async fn back(args: &RollbackArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let Some(service) = &args.service else {
        return deploy::back(&args.app, &args.patience, daemon, screen).await;
    };
    let ask = async || daemon.roll(Way::Rollback, service, &Roll::default()).await;
    let limit = args.patience.limit.timeout;
    let begun = args.turn.take(std::slice::from_ref(service), limit, (daemon, screen), ask).await?;
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
