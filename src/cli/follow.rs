//! A long operation, followed to its end. It belongs to the daemon: whatever happens here, it
//! goes on (`C3`).

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    Ended,
    args::Patience,
    daemon::Daemon,
    exit::Exit,
    failure::Failure,
    progress::Progress,
    screen::{Format, Screen},
    several,
    verdict::{self, Parting},
};
use crate::api::{
    client::ClientError,
    types::{Rollout, RolloutState, Status},
};

/// How long the daemon may take to answer that nothing has changed.
const POLL: Duration = Duration::from_secs(30);
/// How long it may take to say so beyond that.
const GRACE: Duration = Duration::from_secs(10);
/// A daemon that restarts is given this long to be back; its rollouts are durable.
const ABSENCE: Duration = Duration::from_secs(60);
/// Between two tries to find it again, and between two answers that say nothing new.
const PACE: Duration = Duration::from_millis(250);

/// What the command that follows is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The rollout does what it is for.
    Done,
    /// It is undone: `cancel`.
    Undone,
    /// It is held, for somebody to decide: `swap --hold`.
    Held,
}

impl Goal {
    pub(super) const fn exit(self, state: RolloutState) -> Exit {
        match self {
            Self::Done | Self::Held => Exit::of_rollout(state),
            Self::Undone => Exit::of_cancelled(state),
        }
    }
}

/// Goes on from the daemon's answer that `rollout` is under way, as `patience` has it.
pub(super) async fn begun(
    rollout: Rollout,
    patience: &Patience,
    goal: Goal,
    daemon: &Daemon,
    screen: Screen,
) -> Ended {
    if patience.no_wait {
        screen.show(&rollout, |_| format!("{}\n", rollout.id))?;
        return Ok(Exit::Done);
    }
    to_the_end(rollout, patience.limit.timeout, goal, daemon, screen).await
}

/// Follows `rollout` until it has ended, `limit` has passed, or Ctrl-C; tells how that went.
pub(super) async fn to_the_end(
    rollout: Rollout,
    limit: Option<Duration>,
    goal: Goal,
    daemon: &Daemon,
    screen: Screen,
) -> Ended {
    let mut progress = Progress::new(screen);
    // What serves now says nothing about a rollout that had ended before.
    let seen_going_on = !rollout.state.ended();
    let parted = follow_toward(goal, rollout, limit, daemon, &mut progress).await;
    progress.close();
    let (rollout, parting) = parted?;
    if parting == Parting::Held {
        screen.show(&rollout, |look| verdict::held(&rollout, look))?;
        return Ok(Exit::Done);
    }
    if parting != Parting::Ended {
        screen.show(&rollout, |look| verdict::left(&rollout, parting, look))?;
        return Ok(Exit::StillGoing);
    }
    let status = match screen.format {
        Format::Text if seen_going_on => who_serves(daemon).await,
        _ => None,
    };
    screen.show(&rollout, |look| several::ended(&rollout, goal, status.as_ref(), look))?;
    Ok(goal.exit(rollout.state))
}

/// Who serves now; an ornament of the verdict, left out where it cannot be had.
async fn who_serves(daemon: &Daemon) -> Option<Status> {
    timeout(GRACE, daemon.status()).await.ok()?.ok()
}

/// Follows `rollout` until it has ended, `limit` has passed, or Ctrl-C.
pub(super) async fn follow(
    rollout: Rollout,
    limit: Option<Duration>,
    daemon: &Daemon,
    progress: &mut Progress,
) -> Result<(Rollout, Parting), Failure> {
    follow_toward(Goal::Done, rollout, limit, daemon, progress).await
}

/// The same, or until there is nothing more to wait for.
async fn follow_toward(
    goal: Goal,
    mut rollout: Rollout,
    limit: Option<Duration>,
    daemon: &Daemon,
    progress: &mut Progress,
) -> Result<(Rollout, Parting), Failure> {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    // A limit too far for the clock is none.
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut passed = pin!(async {
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    });
    loop {
        progress.show(&rollout)?;
        if rollout.state.ended() {
            return Ok((rollout, Parting::Ended));
        }
        if goal == Goal::Held && rollout.held.is_some() {
            return Ok((rollout, Parting::Held));
        }
        let changed = tokio::select! {
            biased;
            _ = &mut interrupt => return Ok((rollout, Parting::Interrupted)),
            changed = change(&rollout, daemon, progress) => changed?,
            () = &mut passed => return Ok((rollout, Parting::TimedOut(limit.unwrap_or_default()))),
        };
        rollout = changed;
    }
}

/// The rollout after `seen`, over a restart of the daemon if need be.
async fn change(seen: &Rollout, daemon: &Daemon, progress: &Progress) -> Result<Rollout, Failure> {
    let mut absent_since = None;
    loop {
        let asked = Instant::now();
        let answer = timeout(POLL + GRACE, daemon.wait(seen.id, seen.revision, POLL)).await;
        let why = match answer {
            Ok(Ok(rollout)) => {
                let news = rollout.revision != seen.revision || rollout.state.ended();
                if !news && asked.elapsed() < PACE {
                    sleep(PACE).await;
                }
                return Ok(rollout);
            }
            Ok(Err(error @ ClientError::Problem { .. })) => return Err(error.into()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if absent_since.is_none() {
            progress.say("aibkd does not answer; the rollout is kept, waiting for aibkd")?;
        }
        let since = *absent_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= ABSENCE {
            return Err(Failure::Lost { id: seen.id, tried: since.elapsed(), why });
        }
        sleep(PACE).await;
    }
}
