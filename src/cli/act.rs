//! `start`, `stop`, `restart`.

use clap::Args;

use super::{
    Ended,
    args::Patience,
    daemon::{Daemon, Verb},
    follow,
    screen::Screen,
};
use crate::{api::types::Act, ident::InstanceId};

/// What to do it to, and how.
#[derive(Debug, Args)]
pub(super) struct ActArgs {
    /// The instance, as `aibkctl status` shows it: `api@8000`, or `worker` where it has no port
    instance: InstanceId,
    /// Do it although requests may be lost: it is the last one that serves
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn run(verb: Verb, args: &ActArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let begun = daemon.act(verb, &args.instance, &Act { force: args.force }).await?;
    follow::begun(begun, &args.patience, follow::Goal::Done, daemon, screen).await
}
