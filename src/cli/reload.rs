//! `reload`.

use clap::Args;

use super::{Ended, daemon::Daemon, exit::Exit, layout::harmless, screen::Screen};
use crate::{api::types::ReloadedInstance, ident::InstanceId};

/// Whom to tell.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// The instance, as `aibkctl status` shows it
    instance: InstanceId,
}

pub(super) async fn run(args: &ReloadArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let reloaded = daemon.reload_instance(&args.instance).await?;
    screen.show(&reloaded, |_| text(&reloaded))?;
    Ok(Exit::Done)
}

fn text(reloaded: &ReloadedInstance) -> String {
    let ReloadedInstance { instance, by, observed } = reloaded;
    format!("{}: {}, {}\n", harmless(instance), harmless(by), harmless(observed))
}
