//! `reset-failed`.

use std::fmt::Write as _;

use clap::Args;

use super::{Ended, daemon::Daemon, exit::Exit, layout::harmless, screen::Screen};
use crate::{
    api::types::{Forgiven, ResetFailed},
    ident::InstanceId,
};

/// Whose failure to forget.
#[derive(Debug, Args)]
pub(super) struct ResetFailedArgs {
    /// The instance, as `aibkctl status` shows it; without it, every one that has failed
    instance: Option<InstanceId>,
}

pub(super) async fn run(args: &ResetFailedArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let forgiven = daemon.reset_failed(&ResetFailed { instance: args.instance.clone() }).await?;
    screen.show(&forgiven, |_| text(&forgiven))?;
    Ok(Exit::Done)
}

fn text(forgiven: &Forgiven) -> String {
    if forgiven.instances.is_empty() {
        return "nothing had failed\n".to_owned();
    }
    let mut text = String::new();
    for name in forgiven.instances.iter().map(|name| harmless(name)) {
        let _ = writeln!(text, "{name} is stopped now; next: `aibkctl start {name}`");
    }
    text
}
