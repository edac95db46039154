//! What the end of an instance means for the run that it was. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    instance::{self, Phase},
    store::RunEnd,
};

/// Whether a run was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Patience {
    /// It may go on.
    Left,
    /// It has been stopped for taking longer than this.
    Over(Duration),
    /// It has been stopped by somebody.
    Gone(String),
}

/// How the run ended whose instance is now as `view` says, and does not run.
pub(super) fn of(view: &instance::View, patience: &Patience, at: Timestamp) -> RunEnd {
    let death = view.death.as_ref();
    let lines = death.map(|death| death.last_lines.as_slice()).unwrap_or_default();
    let with_lines =
        |told: String| lines.iter().fold(told, |told, line| format!("{told}\n  {}", line.text));
    let told = match (patience, view.phase) {
        (Patience::Over(timeout), _) => {
            let timeout = SignedDuration::try_from(*timeout).unwrap_or(SignedDuration::MAX);
            with_lines(format!("took longer than its timeout of {timeout:#}, and was stopped"))
        }
        (Patience::Gone(by), _) => {
            let how = match death {
                Some(death) => death.cause.to_string(),
                // An end that was not its own is no news.
                None => "had to be killed".to_owned(),
            };
            with_lines(format!("was stopped by {by}, and {how}"))
        }
        (Patience::Left, Phase::Stopped) => "was stopped together with aibkd".to_owned(),
        (Patience::Left, _) => match death {
            Some(death) if view.phase == Phase::Finished => death.cause.to_string(),
            Some(death) => death.to_string(),
            None => "ended".to_owned(),
        },
    };
    let success = *patience == Patience::Left && view.phase == Phase::Finished;
    RunEnd { at, success, told }
}

/// How a run ended that was under way when its daemon or its host went down.
pub(super) fn unseen(at: Timestamp) -> RunEnd {
    let told = "nobody saw how it ended: aibkd or the host was down".to_owned();
    RunEnd { at, success: false, told }
}

/// How a run ended that could not be started.
pub(super) fn not_started(why: &str, at: Timestamp) -> RunEnd {
    RunEnd { at, success: false, told: format!("could not be started: {why}") }
}
