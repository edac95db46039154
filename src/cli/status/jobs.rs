//! The part of the status page about jobs: pure.

use jiff::Timestamp;

use crate::{
    api::types::{JobStatus, RunState},
    cli::{
        layout::{Cell, Column, Fit, hanging, table},
        look::{self, Look},
        run,
        time::{self, Clock},
    },
};

const COLUMNS: [Column; 6] = [
    Column("JOB", Fit::Name),
    Column("LAST", Fit::Whole),
    Column("BEGUN", Fit::Broken),
    Column("TOOK", Fit::Number),
    Column("NEXT", Fit::Broken),
    Column("SCHEDULE", Fit::Broken),
];

/// A table of the jobs, and what is wrong with them; nothing where there are none.
pub(super) fn part(jobs: &[JobStatus], clock: Clock, now: Timestamp, look: Look) -> String {
    if jobs.is_empty() {
        return String::new();
    }
    let row = |job: &JobStatus| {
        let last = job.last.as_ref();
        let state = last.map_or_else(
            || Cell::plain("-"),
            |last| Cell::styled(run::word(last.state), run::style(last.state)),
        );
        vec![
            Cell::plain(&job.name),
            state,
            Cell::maybe(last.map(|last| clock.second_of(&last.begun, now))),
            Cell::maybe(last.map(|last| time::took(last.elapsed_s))),
            next(job, clock, now),
            Cell::maybe(job.schedule.as_ref()),
        ]
    };
    let rows: Vec<_> = jobs.iter().map(row).collect();
    let troubles: String = jobs.iter().filter_map(|job| trouble(job, look)).collect();
    let gap = if troubles.is_empty() { "" } else { "\n" };
    format!("\n{}{gap}{troubles}", table(&COLUMNS, &rows, look))
}

fn next(job: &JobStatus, clock: Clock, now: Timestamp) -> Cell {
    if job.enabled {
        Cell::maybe(job.next.as_ref().map(|next| clock.second_of(next, now)))
    } else {
        Cell::plain("disabled")
    }
}

fn trouble(job: &JobStatus, look: Look) -> Option<String> {
    let (head, why) = match (&job.waits, &job.last) {
        (Some(why), _) => (look.paint(look::PENDING, &format!("{} waits", job.name)), why),
        (None, Some(last)) if last.state == RunState::Failed => {
            (look.paint(look::BAD, &format!("{} failed", job.name)), last.told.as_ref()?)
        }
        _ => return None,
    };
    Some(format!("{head}\n{}", hanging("  ", why, look.width)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn jobs_have_a_table_and_their_failures() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let part = part(&samples::jobs(), Clock::UTC, now, Look::PAGE);
        assert!(part.lines().all(|line| line.chars().count() <= 80), "{part}");
        insta::assert_snapshot!(part);
    }
}
