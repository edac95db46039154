//! Steps of a rollout as lines: sign, name, what it acts on, time, note.

use super::{
    layout::harmless,
    look::{self, Look, Reader},
    time,
};
use crate::api::types::{Rollout, Step};

/// It is under way no more.
pub(super) const fn ended(step: &Step) -> bool {
    step.took_s.is_some() || step.failed
}

/// Seconds that the step under way has lasted: what is not in the steps before it.
pub(super) fn age(rollout: &Rollout) -> f64 {
    let before: f64 = rollout.steps.iter().filter_map(|step| step.took_s).sum();
    (rollout.elapsed_s - before).max(0.0)
}

/// One step as a line without its end.
pub(super) fn line(step: &Step, look: Look) -> String {
    let (sign, style) = match (look.reader, step.failed, ended(step)) {
        (Reader::Person, true, _) => ("✗", look::BAD),
        (Reader::Person, false, true) => ("✓", look::GOOD),
        (Reader::Person, false, false) => ("…", look::PENDING),
        (Reader::Log, true, _) => ("FAILED ", look::BAD),
        (Reader::Log, false, true) => ("ok     ", look::GOOD),
        (Reader::Log, false, false) => ("running", look::PENDING),
    };
    let took = step.took_s.map_or_else(|| "-".to_owned(), time::took);
    let note = note(step);
    let line = format!("{} {} {took:>7}  {note}", look.paint(style, sign), name(step));
    line.trim_end().to_owned()
}

/// The parts of a moving line: what is done, and what it waits for.
pub(super) fn under_way(step: &Step) -> (String, String) {
    (name(step), note(step))
}

fn name(step: &Step) -> String {
    format!("{:<11}  {:<24}", harmless(&step.name), harmless(&step.on))
}

fn note(step: &Step) -> String {
    harmless(step.note.as_deref().unwrap_or_default()).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{look::visible, samples};

    fn lines(look: Look) -> String {
        let rollout = samples::failed_rolling();
        rollout.steps.iter().map(|step| line(step, look) + "\n").collect()
    }

    #[test]
    fn people_see_signs() {
        insta::assert_snapshot!(lines(Look::PAGE));
        insta::assert_snapshot!("coloured", visible(&lines(Look::COLOURED)));
    }

    #[test]
    fn logs_have_words() {
        insta::assert_snapshot!(lines(Look::FILE));
    }

    #[test]
    fn the_age_of_a_step_is_what_the_others_leave() {
        assert!((age(&samples::rolling_under_way()) - 2.1).abs() < 1e-9);
    }
}
