//! `start`, `stop`, `restart`.

use clap::Args;

use super::{
    Ended,
    args::Patience,
    daemon::{Daemon, Verb},
    failure::Failure,
    follow,
    queue::Turn,
    screen::Screen,
};
use crate::{
    api::types::Act,
    ident::{InstanceId, Slot},
};

/// What to do it to, and how.
#[derive(Debug, Args)]
pub(super) struct ActArgs {
    /// The instance, as `aibkctl status` shows it: `api@8000`, or `worker` where it has no port; of a
    /// job, `stop` stops the run that goes on
    instance: InstanceId,
    /// Do it although requests may be lost: it is the last one that serves
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    turn: Turn,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn run(verb: Verb, args: &ActArgs, daemon: &Daemon, screen: Screen) -> Ended {
    if verb == Verb::Stop && is_job(&args.instance, daemon).await? {
        return super::run::stop(&args.instance.service, &args.patience, daemon, screen).await;
    }
    let how = Act { force: args.force };
    let ask = async || daemon.act(verb, &args.instance, &how).await;
    let (service, limit) =
        (std::slice::from_ref(&args.instance.service), args.patience.limit.timeout);
    let begun = args.turn.take(service, limit, (daemon, screen), ask).await?;
    follow::begun(begun, &args.patience, follow::Goal::Done, daemon, screen).await
}

/// A job has no port; nor have some services.
async fn is_job(named: &InstanceId, daemon: &Daemon) -> Result<bool, Failure> {
    if named.slot != Slot::Sole {
        return Ok(false);
    }
    let status = daemon.status().await?;
    Ok(status.jobs.iter().any(|job| job.name == named.service.as_str()))
}
