//! `wait`: joins a rollout.

use super::{Ended, args::WaitArgs, daemon::Daemon, follow, screen::Screen};

pub(super) async fn run(args: &WaitArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let found = daemon.rollout(args.which.id).await?;
    follow::to_the_end(found, args.limit.timeout, follow::Goal::Done, daemon, screen).await
}
