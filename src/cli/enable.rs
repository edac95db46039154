//! `enable` and `disable`.

use clap::Args;

use super::{
    Ended,
    args::Patience,
    daemon::{AtBoot, Daemon},
    exit::Exit,
    follow,
    layout::harmless,
    roll::service_name,
    screen::{Format, Screen},
};
use crate::{
    api::types::{Enable, Enablement},
    ident::ServiceName,
};

/// What to let come up.
#[derive(Debug, Args)]
pub(super) struct EnableArgs {
    /// The service, as `aibkctl status` shows it
    #[arg(value_parser = service_name)]
    service: ServiceName,
    /// Start it, too
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    patience: Patience,
}

/// What to let not come up.
#[derive(Debug, Args)]
pub(super) struct DisableArgs {
    /// The service, as `aibkctl status` shows it
    #[arg(value_parser = service_name)]
    service: ServiceName,
    /// Stop it, too
    #[arg(long)]
    now: bool,
    /// Stop it although requests are lost: it serves
    #[arg(long, requires = "now")]
    force: bool,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn enable(args: &EnableArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let how = Enable { now: args.now, force: false };
    let done = daemon.enable(AtBoot::Enabled, &args.service, &how).await?;
    tell(done, &args.patience, daemon, screen).await
}

pub(super) async fn disable(args: &DisableArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let how = Enable { now: args.now, force: args.force };
    let done = daemon.enable(AtBoot::Disabled, &args.service, &how).await?;
    tell(done, &args.patience, daemon, screen).await
}

/// Programs get one document: that of the rollout where one is followed.
async fn tell(done: Enablement, patience: &Patience, daemon: &Daemon, screen: Screen) -> Ended {
    if done.rollout.is_none() || screen.format == Format::Text {
        screen.show(&done, |_| text(&done))?;
    }
    match done.rollout {
        Some(rollout) => follow::begun(rollout, patience, follow::Goal::Done, daemon, screen).await,
        None => Ok(Exit::Done),
    }
}

fn text(done: &Enablement) -> String {
    let name = harmless(&done.service);
    match (done.enabled, &done.rollout) {
        (true, _) => format!("{name} is enabled: it comes up when the host boots\n"),
        (false, None) => {
            format!(
                "{name} is disabled: what runs goes on, and nothing comes up at the next boot\n"
            )
        }
        (false, Some(_)) => {
            format!("{name} is disabled: nothing of it comes up when the host boots\n")
        }
    }
}
