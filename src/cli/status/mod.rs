//! `status`: every service, what nginx serves, rollouts under way.

mod explain;
mod jobs;
mod page;
mod watch;
mod workers;

use clap::Args;

pub(super) use self::page::nginx_line;
use super::{Ended, daemon::Daemon, exit::Exit, screen::Screen};
use crate::ident::InstanceId;

/// Once or again and again.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Show it again each second, in place on a terminal, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    /// Tell why one instance is in its state, and its last answers to probes
    #[arg(long, value_name = "INSTANCE", conflicts_with = "watch")]
    explain: Option<InstanceId>,
}

pub(super) async fn run(args: &StatusArgs, daemon: &Daemon, screen: Screen) -> Ended {
    if let Some(of) = &args.explain {
        let told = daemon.explain(of).await?;
        screen.show(&told, |look| explain::page(&told, look))?;
        return Ok(Exit::Done);
    }
    if args.watch {
        return watch::run(daemon, screen).await;
    }
    let status = daemon.status().await?;
    screen.show(&status, |look| page::page(&status, look))?;
    Ok(Exit::Done)
}
