//! `rollouts`: the last ones, or one with its steps.

use std::fmt::Write as _;

use clap::Args;
use jiff::Timestamp;

use super::{
    Ended, clients,
    daemon::Daemon,
    exit::Exit,
    layout::{Cell, Column, Fit, hanging, harmless, table},
    look::{self, Look},
    screen::Screen,
    steps,
    time::{self, Clock},
    verdict,
};
use crate::api::types::{Rollout, RolloutState};

/// Which.
#[derive(Debug, Args)]
pub(super) struct RolloutsArgs {
    /// Number of one rollout, to show with its steps
    id: Option<u64>,
}

pub(super) async fn run(args: &RolloutsArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let (clock, now) = (Clock::SYSTEM, Timestamp::now());
    if let Some(id) = args.id {
        let rollout = daemon.rollout(id).await?;
        screen.show(&rollout, |look| one(&rollout, clock, now, look))?;
    } else {
        let rollouts = daemon.rollouts().await?;
        screen.show(&rollouts, |look| list(&rollouts, clock, now, look))?;
    }
    Ok(Exit::Done)
}

const COLUMNS: [Column; 8] = [
    Column("ID", Fit::Number),
    Column("WHAT", Fit::Whole),
    Column("OF", Fit::Name),
    Column("RELEASE", Fit::Broken),
    Column("STATE", Fit::Whole),
    Column("BEGUN", Fit::Broken),
    Column("TOOK", Fit::Number),
    Column("BY", Fit::Whole),
];

fn list(rollouts: &[Rollout], clock: Clock, now: Timestamp, look: Look) -> String {
    if rollouts.is_empty() {
        return "no rollout yet\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = rollouts
        .iter()
        .map(|rollout| {
            vec![
                Cell::plain(&rollout.id),
                Cell::plain(&rollout.kind),
                Cell::plain(verdict::subject(rollout)),
                Cell::maybe(rollout.release.as_ref()),
                Cell::styled(state_name(rollout.state), look::of_rollout(rollout.state)),
                Cell::plain(&clock.second_of(&rollout.begun, now)),
                Cell::plain(&time::took(rollout.elapsed_s)),
                Cell::plain(&rollout.by),
            ]
        })
        .collect();
    table(&COLUMNS, &rows, look)
}

const fn state_name(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Waiting => "waiting",
        RolloutState::Running => "running",
        RolloutState::Undoing => "undoing",
        RolloutState::Done => "done",
        RolloutState::Undone => "undone",
        RolloutState::Skipped => "not begun",
        RolloutState::Stuck => "stuck",
    }
}

fn one(rollout: &Rollout, clock: Clock, now: Timestamp, look: Look) -> String {
    let state = look.paint(look::of_rollout(rollout.state), state_name(rollout.state));
    let mut text = format!(
        "{}\n{state}, {}; begun {} by {}\n\n",
        verdict::opening(rollout),
        time::took(rollout.elapsed_s),
        clock.second_of(&rollout.begun, now),
        harmless(&rollout.by),
    );
    if rollout.members.is_empty() || rollout.app.is_some() {
        return text + &account(rollout, look);
    }
    for member in &rollout.members {
        let state = look.paint(look::of_rollout(member.state), state_name(member.state));
        let what = verdict::what(member);
        let _ = write!(text, "{what}: {state}\n{}\n", account(member, look));
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// What it did, why it failed, what its clients saw.
fn account(rollout: &Rollout, look: Look) -> String {
    let mut text = String::new();
    for step in &rollout.steps {
        text.push_str(&steps::line(step, look));
        text.push('\n');
    }
    if let Some(failure) = &rollout.failure {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&hanging("", failure, look.width));
    }
    let clients = clients::told(rollout, look);
    if !clients.is_empty() {
        let _ = write!(text, "\n{clients}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn history_is_a_table_and_one_rollout_a_page() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let mut restart = samples::done_rolling();
        restart.kind = "restart".into();
        restart.instance = Some("api@8000".into());
        restart.release = None;
        restart.begun = "2026-02-27T08:00:01Z".into();
        restart.id = 9;
        let rollouts = [samples::rolling_under_way(), samples::failed_rolling(), restart];
        insta::assert_snapshot!(list(&rollouts, Clock::UTC, now, Look::PAGE));
        insta::assert_snapshot!("one", one(&rollouts[1], Clock::UTC, now, Look::PAGE));
        assert_eq!(list(&[], Clock::UTC, now, Look::PAGE), "no rollout yet\n");
    }
}
