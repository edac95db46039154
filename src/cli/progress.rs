//! What is seen of a rollout while it is under way: a line that moves on a terminal, a line per
//! finished step elsewhere, nothing where one JSON document is the answer.

use std::{collections::BTreeSet, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::{
    failure::Failure,
    layout::{hanging, harmless},
    look::{Look, Reader},
    plan,
    screen::{Format, Screen, put},
    several, steps, time, verdict,
};
use crate::api::types::{Rollout, RolloutState};

/// How often the moving line is drawn.
const TICK: Duration = Duration::from_millis(100);

/// How much is shown.
enum Display {
    /// The step under way moves; ended ones stay above it.
    Moving(ProgressBar),
    /// Ended steps only.
    Lines,
    /// Nothing.
    Silent,
}

/// The display of one rollout.
pub(super) struct Progress {
    screen: Screen,
    display: Display,
    /// Which steps, of which member.
    told: BTreeSet<(usize, usize)>,
    begun: bool,
    turned: bool,
    moving: Option<(usize, usize)>,
}

impl Progress {
    pub(super) fn new(screen: Screen) -> Self {
        let display = match (screen.format, screen.look.reader) {
            (Format::Json, _) => Display::Silent,
            (Format::Text, Reader::Log) => Display::Lines,
            (Format::Text, Reader::Person) => Display::Moving(moving_line()),
        };
        let told = BTreeSet::new();
        Self { screen, display, told, begun: false, turned: false, moving: None }
    }

    /// Shows what is new in `rollout`.
    pub(super) fn show(&mut self, rollout: &Rollout) -> Result<(), Failure> {
        let look = self.screen.look;
        if !std::mem::replace(&mut self.begun, true) {
            self.say(&verdict::opening(rollout))?;
        }
        for (who, member) in several::members(rollout).iter().enumerate() {
            self.show_steps(who, member, look)?;
        }
        self.move_on(rollout);
        Ok(())
    }

    fn show_steps(&mut self, who: usize, rollout: &Rollout, look: Look) -> Result<(), Failure> {
        for (at, step) in rollout.steps.iter().enumerate() {
            if steps::ended(step) && self.told.insert((who, at)) {
                if who > 0 && at == 0 {
                    self.say(&verdict::what(rollout))?;
                }
                self.say(&steps::line(step, look))?;
            }
        }
        if let (RolloutState::Undoing, Some(undo), false) =
            (rollout.state, &rollout.undo, self.turned)
        {
            self.turned = true;
            let back = format!("going back to where it began: {}", plan::undone(undo));
            self.say(hanging("", &harmless(&back), look.width).trim_end())?;
        }
        Ok(())
    }

    /// One line, kept.
    pub(super) fn say(&self, line: &str) -> Result<(), Failure> {
        match &self.display {
            Display::Moving(bar) => bar.println(line),
            Display::Lines => put(&format!("{line}\n"))?,
            Display::Silent => {}
        }
        Ok(())
    }

    /// What `who` does now, on the moving line alone.
    pub(super) fn note(&self, who: &str, doing: &str) {
        if let Display::Moving(bar) = &self.display {
            bar.set_prefix(who.to_owned());
            bar.set_message(doing.to_owned());
        }
    }

    /// Takes the moving line away.
    pub(super) fn close(&self) {
        if let Display::Moving(bar) = &self.display {
            bar.finish_and_clear();
        }
    }

    fn move_on(&mut self, rollout: &Rollout) {
        let Display::Moving(bar) = &self.display else { return };
        let (who, member) = several::present(rollout);
        let current = member.steps.iter().position(|step| !steps::ended(step));
        let step = current.and_then(|at| member.steps.get(at));
        let current = current.map(|at| (who, at));
        let (prefix, note) = step.map_or_else(Default::default, steps::under_way);
        if self.moving != current {
            self.moving = current;
            bar.set_elapsed(Duration::try_from_secs_f64(steps::age(member)).unwrap_or_default());
        }
        bar.set_prefix(prefix);
        bar.set_message(note);
    }
}

fn moving_line() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    let elapsed = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // Nothing is drawn where this fails; the next tick tries again.
        let _ = write!(out, "{:>10}", time::took(state.elapsed().as_secs_f64()));
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {took}  {wide_msg}") {
        bar.set_style(style.with_key("took", elapsed));
    }
    bar.enable_steady_tick(TICK);
    bar
}
