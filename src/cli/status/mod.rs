//! `status`: every service, what nginx serves, rollouts under way.

mod page;
mod watch;
mod workers;

use clap::Args;

pub(super) use self::page::nginx_line;
use super::{Ended, daemon::Daemon, exit::Exit, screen::Screen};

/// Once or again and again.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Show it again each second, in place on a terminal, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
}

pub(super) async fn run(args: &StatusArgs, daemon: &Daemon, screen: Screen) -> Ended {
    if args.watch {
        return watch::run(daemon, screen).await;
    }
    let status = daemon.status().await?;
    screen.show(&status, |look| page::page(&status, look))?;
    Ok(Exit::Done)
}
