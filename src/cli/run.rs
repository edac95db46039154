//! `run`: a job, now, followed to its end; and `runs`: what came of the last ones.

use std::{pin::pin, time::Duration};

use clap::Args;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::{
    Ended,
    args::{Limit, Patience},
    daemon::Daemon,
    exit::Exit,
    failure::Failure,
    layout::{Cell, Column, Fit, hanging, table},
    look::{self, Look},
    screen::Screen,
    time::{self, Clock},
};
use crate::{
    api::types::{Run, RunState},
    ident::ServiceName,
};

/// How long the daemon may take to answer that a run still goes on.
const POLL: Duration = Duration::from_secs(30);

/// Which job, and whether to wait.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The job, as `aibkctl status` shows it
    job: ServiceName,
    /// Print the run's number and return at once
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    #[command(flatten)]
    limit: Limit,
}

/// Which job.
#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    /// The job, as `aibkctl status` shows it
    job: ServiceName,
}

pub(super) async fn run(args: &RunArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let run = daemon.run(&args.job).await?;
    if args.no_wait {
        screen.show(&run, |_| format!("{}\n", run.id))?;
        return Ok(Exit::Done);
    }
    let run = to_the_end(run, args.limit.timeout, daemon).await?;
    screen.show(&run, |look| one(&run, look))?;
    Ok(match run.state {
        RunState::Running => Exit::StillGoing,
        RunState::Done => Exit::Done,
        RunState::Failed => Exit::Failed,
    })
}

/// `stop` of a job: done when what went on has ended, however.
pub(super) async fn stop(
    job: &ServiceName,
    patience: &Patience,
    daemon: &Daemon,
    screen: Screen,
) -> Ended {
    let run = daemon.stop_run(job).await?;
    if patience.no_wait {
        screen.show(&run, |_| format!("{}\n", run.id))?;
        return Ok(Exit::Done);
    }
    let run = to_the_end(run, patience.limit.timeout, daemon).await?;
    screen.show(&run, |look| one(&run, look))?;
    Ok(if run.state == RunState::Running { Exit::StillGoing } else { Exit::Done })
}

/// `run` when it has ended, or after `limit`, or at Ctrl-C.
async fn to_the_end(
    mut run: Run,
    limit: Option<Duration>,
    daemon: &Daemon,
) -> Result<Run, Failure> {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    // A limit too far for the clock is none.
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    while run.state == RunState::Running {
        let passed = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = &mut interrupt => break,
            () = passed => break,
            now = daemon.run_end(run.id, POLL) => run = now?,
        }
    }
    Ok(run)
}

pub(super) async fn list(args: &RunsArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let runs = daemon.runs(&args.job).await?;
    let (clock, now) = (Clock::SYSTEM, Timestamp::now());
    screen.show(&runs, |look| page(&runs, clock, now, look))?;
    Ok(Exit::Done)
}

/// How one run stands.
pub(super) fn one(run: &Run, look: Look) -> String {
    let head = format!("{} {}", run.job, word(run.state));
    let head = look.paint(style(run.state), &head);
    let took = time::took(run.elapsed_s);
    match (run.state, &run.told) {
        (RunState::Running, _) => {
            format!(
                "{head}: run {} goes on since {took}\n  next: `aibkctl runs {}`\n",
                run.id, run.job
            )
        }
        (_, Some(told)) => format!("{head} in {took}\n{}", hanging("  ", told, look.width)),
        (_, None) => format!("{head} in {took}\n"),
    }
}

const COLUMNS: [Column; 6] = [
    Column("RUN", Fit::Number),
    Column("STATE", Fit::Whole),
    Column("BEGUN", Fit::Broken),
    Column("TOOK", Fit::Number),
    Column("BECAUSE", Fit::Broken),
    Column("END", Fit::Broken),
];

fn page(runs: &[Run], clock: Clock, now: Timestamp, look: Look) -> String {
    if runs.is_empty() {
        return "no run yet\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = runs
        .iter()
        .map(|run| {
            let told = run.told.as_deref().and_then(|told| told.lines().next());
            vec![
                Cell::plain(&run.id),
                Cell::styled(word(run.state), style(run.state)),
                Cell::plain(&clock.second_of(&run.begun, now)),
                Cell::plain(&time::took(run.elapsed_s)),
                Cell::plain(&run.cause),
                Cell::maybe(told),
            ]
        })
        .collect();
    table(&COLUMNS, &rows, look)
}

pub(super) const fn word(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Done => "done",
        RunState::Failed => "failed",
    }
}

pub(super) const fn style(state: RunState) -> anstyle::Style {
    match state {
        RunState::Running => look::PENDING,
        RunState::Done => look::GOOD,
        RunState::Failed => look::BAD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn a_run_is_told_with_how_it_ended() {
        let told: String = samples::runs().iter().map(|run| one(run, Look::PAGE)).collect();
        insta::assert_snapshot!(told);
    }

    #[test]
    fn the_last_runs_are_a_table() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let page = page(&samples::runs(), Clock::UTC, now, Look::PAGE);
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        insta::assert_snapshot!(page);
    }
}
