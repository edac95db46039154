//! `cancel`: turns a rollout back.

use super::{Ended, args::CancelArgs, daemon::Daemon, follow, screen::Screen};

pub(super) async fn run(args: &CancelArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let turned = daemon.cancel(args.which.id).await?;
    follow::begun(turned, &args.patience, follow::Goal::Undone, daemon, screen).await
}
