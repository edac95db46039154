//! `reload`: an instance's own configuration, or without one the daemon's.

use clap::Args;

use super::{
    Ended,
    daemon::Daemon,
    daemon_reload::{self, DaemonReloadArgs},
    exit::Exit,
    layout::harmless,
    screen::Screen,
};
use crate::{api::types::ReloadedInstance, ident::InstanceId};

/// Whom to tell.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// The instance, as `aibkctl status` shows it; without one, aibkd reads its configuration again,
    /// as with `daemon-reload`
    #[arg(conflicts_with_all = ["dry_run", "force", "no_wait", "timeout"])]
    instance: Option<InstanceId>,
    #[command(flatten)]
    daemon: DaemonReloadArgs,
}

pub(super) async fn run(args: &ReloadArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let Some(instance) = &args.instance else {
        return daemon_reload::run(&args.daemon, daemon, screen).await;
    };
    let reloaded = daemon.reload_instance(instance).await?;
    screen.show(&reloaded, |_| text(&reloaded))?;
    Ok(Exit::Done)
}

fn text(reloaded: &ReloadedInstance) -> String {
    let ReloadedInstance { instance, by, observed } = reloaded;
    format!("{}: {}, {}\n", harmless(instance), harmless(by), harmless(observed))
}
