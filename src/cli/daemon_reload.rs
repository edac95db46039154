//! `daemon-reload`: the daemon reads its configuration again.

use std::fmt::Write as _;

use clap::Args;

use super::{
    Ended,
    args::Patience,
    daemon::Daemon,
    exit::Exit,
    follow::{self, Goal},
    layout::harmless,
    progress::Progress,
    screen::{Format, Screen, complain},
    verdict::Parting,
};
use crate::api::types::{Reload, ReloadAction, Reloaded, ServiceChange};

/// How the configuration is read again.
#[derive(Debug, Args)]
pub(super) struct DaemonReloadArgs {
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do it although requests may be lost: for a service with one slot
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn run(args: &DaemonReloadArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let how = Reload { dry_run: args.dry_run, force: args.force };
    let reloaded = daemon.reload(&how).await?;
    let waits = !args.patience.no_wait;
    match screen.format {
        Format::Json if waits => in_one_document(reloaded, args, daemon, screen).await,
        _ => {
            screen.show(&reloaded, |_| text(&reloaded))?;
            let mut exit = if reloaded.troubles.is_empty() { Exit::Done } else { Exit::Refused };
            for trouble in &reloaded.troubles {
                complain(&format!("aibkctl: {}\n", harmless(trouble)));
            }
            let limit = args.patience.limit.timeout;
            for rollout in reloaded.rollouts.into_iter().filter(|_| waits) {
                let ended = follow::to_the_end(rollout, limit, Goal::Done, daemon, screen).await?;
                exit = worse(exit, ended);
            }
            Ok(exit)
        }
    }
}

/// Programs get the rollouts as they ended.
async fn in_one_document(
    mut reloaded: Reloaded,
    args: &DaemonReloadArgs,
    daemon: &Daemon,
    screen: Screen,
) -> Ended {
    let mut exit = if reloaded.troubles.is_empty() { Exit::Done } else { Exit::Refused };
    for rollout in &mut reloaded.rollouts {
        let mut progress = Progress::new(screen);
        let limit = args.patience.limit.timeout;
        let (ended, parting) =
            follow::follow(rollout.clone(), limit, daemon, &mut progress).await?;
        progress.close();
        let how = match parting {
            Parting::Ended => Goal::Done.exit(ended.state),
            _ => Exit::StillGoing,
        };
        exit = worse(exit, how);
        *rollout = ended;
    }
    screen.show(&reloaded, |_| String::new())?;
    Ok(exit)
}

/// What is left to do decides.
fn worse(one: Exit, other: Exit) -> Exit {
    if one.code() >= other.code() { one } else { other }
}

fn text(reloaded: &Reloaded) -> String {
    if reloaded.changes.is_empty() {
        return "the configuration is the one in force\n".to_owned();
    }
    let width = reloaded.changes.iter().map(|change| change.service.len()).max().unwrap_or(0);
    let mut text = String::new();
    for ServiceChange { service, keys, action } in &reloaded.changes {
        let done = word(*action, reloaded.dry_run);
        let keys = if keys.is_empty() { String::new() } else { format!(": {}", keys.join(", ")) };
        let _ = writeln!(text, "{:width$}  {done}{}", harmless(service), harmless(&keys));
    }
    if reloaded.dry_run {
        text.push_str("nothing was changed\n");
    }
    text
}

const fn word(action: ReloadAction, dry_run: bool) -> &'static str {
    match (action, dry_run) {
        (ReloadAction::Apply, false) => "applied",
        (ReloadAction::Apply, true) => "would be applied",
        (ReloadAction::Publish, false) => "published to nginx",
        (ReloadAction::Publish, true) => "would be published to nginx",
        (ReloadAction::Restart, false) => "is being replaced",
        (ReloadAction::Restart, true) => "would be replaced",
        (ReloadAction::NextStart, _) => "holds from its next start",
        (ReloadAction::Start, false) => "is being started",
        (ReloadAction::Start, true) => "would be started",
        (ReloadAction::Stop, false) => "is being stopped",
        (ReloadAction::Stop, true) => "would be stopped",
        (ReloadAction::JobAdded, false) => "is a new job",
        (ReloadAction::JobAdded, true) => "would be a new job",
        (ReloadAction::JobChanged, _) => "holds from its next run",
        (ReloadAction::JobRemoved, false) => "is no job any more",
        (ReloadAction::JobRemoved, true) => "would be no job any more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_is_told_with_its_keys() {
        let change = |service: &str, keys: &[&str], action| ServiceChange {
            service: service.to_owned(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            action,
        };
        let mut reloaded = Reloaded {
            dry_run: false,
            changes: vec![
                change("admin", &["ready"], ReloadAction::Apply),
                change("api", &["env", "slots"], ReloadAction::Restart),
                change("worker", &[], ReloadAction::Stop),
                change("backup", &["job"], ReloadAction::JobChanged),
                change("mailing", &[], ReloadAction::JobRemoved),
            ],
            rollouts: vec![],
            troubles: vec![],
        };
        insta::assert_snapshot!(text(&reloaded));
        reloaded.dry_run = true;
        insta::assert_snapshot!(text(&reloaded));
        reloaded.changes.clear();
        assert_eq!(text(&reloaded), "the configuration is the one in force\n");
    }
}
