//! `cancel`: turns a rollout back.

use super::{
    Ended, args::CancelArgs, daemon::Daemon, exit::Exit, follow, layout::hanging, look::Look, plan,
    screen::Screen, verdict,
};
use crate::api::types::Rollout;

pub(super) async fn run(args: &CancelArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let turned = daemon.cancel(args.which.id).await?;
    if args.patience.no_wait {
        screen.show(&turned, |look| going_back(&turned, look))?;
        return Ok(Exit::Done);
    }
    follow::begun(turned, &args.patience, follow::Goal::Undone, daemon, screen).await
}

/// What it undoes, to whoever does not follow it.
fn going_back(rollout: &Rollout, look: Look) -> String {
    let what = match (&rollout.undo, verdict::current(rollout)) {
        (Some(undo), _) => format!("goes back: {}", plan::undone(undo)),
        (None, Some(step)) => {
            format!("goes back as soon as step {} {} has ended", step.name, step.on)
        }
        (None, None) => "goes back".to_owned(),
    };
    hanging("", &format!("{} {what}", verdict::opening(rollout)), look.width)
}
