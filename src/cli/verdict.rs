//! What a long operation came to, on one screen.

use std::{fmt::Write as _, time::Duration};

use super::{
    follow::Goal,
    layout::{hanging, harmless},
    look::{self, Look},
    time,
};
use crate::{
    api::types::{Colour, Rollout, RolloutState, Status, Step, Traffic},
    ident::InstanceId,
};

/// Lines of a failure's text that fit on a screen beside the rest.
const FAILURE_LINES: usize = 12;
/// Of these, how many are its beginning.
const FAILURE_HEAD: usize = 5;

/// Why it is followed no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// It has ended.
    Ended,
    /// Ctrl-C.
    Interrupted,
    /// It is held, which was asked for.
    Held,
    /// `--timeout` has passed.
    TimedOut(Duration),
}

/// Where a service is served from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    name: String,
    release: Option<String>,
}

/// The instances of `service` that get requests.
pub(super) fn places(status: &Status, service: &str) -> Vec<Place> {
    let instances = status.services.iter().filter(|s| s.name == service).flat_map(|s| &s.instances);
    instances
        .filter(|instance| instance.traffic == Some(Traffic::Serving))
        .map(|instance| {
            let port = instance.name.split_once('@').map(|(_, port)| port);
            let name = match (instance.colour, port) {
                (Some(Colour::Blue), Some(port)) => format!("blue@{port}"),
                (Some(Colour::Green), Some(port)) => format!("green@{port}"),
                _ => instance.name.clone(),
            };
            Place { name, release: instance.release.clone() }
        })
        .collect()
}

/// `rolling update`, for `rolling`.
pub(super) fn kind(word: &str) -> String {
    match word {
        "rolling" => "rolling update".to_owned(),
        "retire" => "end of the old colour".to_owned(),
        "look" => "dry run".to_owned(),
        kind => harmless(kind),
    }
}

/// The instance it is about, else the service.
pub(super) fn subject(rollout: &Rollout) -> &str {
    rollout.instance.as_deref().unwrap_or(&rollout.service)
}

/// `rolling update of api to release v2`.
pub(super) fn what(rollout: &Rollout) -> String {
    let what = format!("{} of {}", kind(&rollout.kind), subject(rollout));
    match &rollout.release {
        Some(release) => format!("{what} to release {}", harmless(release)),
        None => what,
    }
}

/// The line that a followed rollout begins with.
pub(super) fn opening(rollout: &Rollout) -> String {
    format!("rollout {}: {}", rollout.id, what(rollout))
}

/// The step under way, else the last one.
pub(super) fn current(rollout: &Rollout) -> Option<&Step> {
    rollout.steps.iter().find(|step| step.took_s.is_none()).or_else(|| rollout.steps.last())
}

/// How an ended rollout ended, what that means, and what to do next.
pub(super) fn ended(rollout: &Rollout, goal: Goal, places: &[Place], look: Look) -> String {
    let head = format!("{}: {}", subject(rollout), kind(&rollout.kind));
    let took = time::took(rollout.elapsed_s);
    match (rollout.state, goal) {
        (RolloutState::Done, Goal::Done | Goal::Held) => {
            let done = look.paint(look::GOOD, "done");
            format!("{head} {done} in {took}{}\n", serving(rollout, places))
        }
        (RolloutState::Done, Goal::Undone) => {
            let late = look.paint(look::BAD, "done before it could be cancelled");
            let next = "next: bring back what was before with another rolling update or swap\n";
            format!("{head} {late}{}\n{next}", serving(rollout, places))
        }
        (RolloutState::Undone, Goal::Undone) => {
            let undone = look.paint(look::GOOD, "cancelled");
            format!("{head} {undone} after {took}; {}\n", as_before(rollout))
        }
        (RolloutState::Undone, Goal::Done | Goal::Held) => {
            let failed = look.paint(look::BAD, "failed");
            let head = format!("{head} {failed} after {took}; {}\n", as_before(rollout));
            head + &explained(rollout, look)
        }
        (_, _) => {
            let (failed, how) = if rollout.committed {
                ("failed past its point of no return", "it is not undone")
            } else {
                ("failed", "it could not be undone")
            };
            let failed = look.paint(look::BAD, failed);
            let head = format!("{head} {failed} after {took}; {how}\n");
            head + &explained(rollout, look) + "      `aibkctl status` shows what runs now\n"
        }
    }
}

/// What is as before: going back does not reach a database that was migrated.
fn as_before(rollout: &Rollout) -> &'static str {
    let migrated = |step: &Step| step.name == "migrate" && step.took_s.is_some() && !step.failed;
    if rollout.app.is_some() && rollout.steps.iter().any(migrated) {
        "the services are as before"
    } else {
        "everything is as before"
    }
}

/// What a release that was only looked at would change.
pub(super) fn report(rollout: &Rollout, look: Look) -> String {
    if rollout.kind != "look" {
        return String::new();
    }
    let lines = rollout.report.iter().map(|line| hanging("  ", &harmless(line), look.width));
    lines.collect()
}

/// That requests were cut, where some were.
pub(super) fn cut(rollout: &Rollout, look: Look) -> String {
    let cut = match rollout.cut {
        0 => return String::new(),
        1 => "1 request was cut".to_owned(),
        n => format!("{n} requests were cut"),
    };
    let told = format!("{}: not done when an instance had to end", look.paint(look::BAD, &cut));
    format!("{told} (`drain.deadline`)\n")
}

/// `, release v2 serves from blue@8000`.
fn serving(rollout: &Rollout, places: &[Place]) -> String {
    if rollout.instance.is_some() {
        return String::new();
    }
    let first = places.first().and_then(|place| place.release.as_ref());
    let same = places.iter().all(|place| place.release.as_ref() == first);
    let release = rollout.release.as_ref().or(first.filter(|_| same));
    let names: Vec<&str> = places.iter().map(|place| place.name.as_str()).collect();
    match (release.map(|release| harmless(release)), names.is_empty()) {
        (Some(release), false) => {
            format!(", release {release} serves from {}", names.join(" and "))
        }
        (Some(release), true) => format!(", release {release}"),
        (None, false) => {
            let verb = if names.len() == 1 { "serves" } else { "serve" };
            format!(", {} {verb}", names.join(" and "))
        }
        (None, true) => String::new(),
    }
}

/// Why it failed, in the daemon's words, and where more is to be seen.
fn explained(rollout: &Rollout, look: Look) -> String {
    let failed = rollout.steps.iter().find(|step| step.failed);
    let told = rollout.failure.as_deref().or(failed.and_then(|step| step.note.as_deref()));
    let mut text = String::new();
    if let Some(told) = told {
        text = format!("\n{}\n", on_one_screen(told, look));
    }
    let _ = writeln!(text, "next: `aibkctl rollouts {}` shows every step", rollout.id);
    if rollout.app.is_some() {
        let _ = writeln!(text, "      `aibkctl output {}` shows what it wrote", rollout.id);
    }
    let instance = failed.map(|step| step.on.as_str()).or(rollout.instance.as_deref());
    let is_instance =
        |on: &&str| rollout.app.as_deref() != Some(*on) && on.parse::<InstanceId>().is_ok();
    if let Some(instance) = instance.filter(is_instance) {
        let _ = writeln!(text, "      `aibkctl logs {instance}` shows what it wrote");
    }
    text
}

/// The beginning says what happened, the end has the last log lines: whole lines of the middle
/// give way.
fn on_one_screen(told: &str, look: Look) -> String {
    let told = harmless(told);
    let lines: Vec<String> = told.lines().map(|line| hanging("  ", line, look.width)).collect();
    let height = |line: &String| line.lines().count();
    let rows: usize = lines.iter().map(height).sum();
    if rows <= FAILURE_LINES {
        return lines.concat();
    }
    let head = fitting(lines.iter().map(height), FAILURE_HEAD);
    let rest = lines.get(head..).unwrap_or_default();
    let tail = fitting(rest.iter().rev().map(height), FAILURE_LINES - FAILURE_HEAD - 1);
    let (middle, tail) = rest.split_at(rest.len().saturating_sub(tail));
    let left_out = match middle.len() {
        0 => String::new(),
        1 => "  (1 line left out)\n".to_owned(),
        n => format!("  ({n} lines left out)\n"),
    };
    lines.iter().take(head).chain([&left_out]).chain(tail).map(String::as_str).collect()
}

/// How many of `heights` fit into `rows`; the first does, however high it is.
fn fitting(heights: impl Iterator<Item = usize>, rows: usize) -> usize {
    let mut used = 0;
    let fits = |height: &usize| {
        let first = used == 0;
        used += height;
        first || used <= rows
    };
    heights.take_while(fits).count()
}

/// That a rollout is held, and what to do next.
pub(super) fn held(rollout: &Rollout, look: Look) -> String {
    let Some(held) = &rollout.held else { return left(rollout, Parting::Held, look) };
    let (service, instance) = (harmless(&rollout.service), harmless(&held.instance));
    let is_held = look.paint(look::PENDING, "is held");
    let release = rollout.release.as_ref().map(|id| format!(", release {}", harmless(id)));
    let mut text = format!("{service}: {} {is_held}", kind(&rollout.kind));
    let _ = writeln!(text, "{}; clients do not see {instance} yet", release.unwrap_or_default());
    let _ = writeln!(text, "  try it:   curl http://{}/", harmless(&held.address));
    let _ = writeln!(text, "  go on:    aibkctl promote {service}");
    let _ = writeln!(text, "  go back:  aibkctl abort {service}");
    let _ = writeln!(text, "  or it goes back by itself, at {}", harmless(&held.until));
    text
}

/// That a rollout goes on without its watcher, and how to join or cancel it.
pub(super) fn left(rollout: &Rollout, parting: Parting, look: Look) -> String {
    let why = match parting {
        Parting::TimedOut(limit) => {
            format!("stopped waiting after {}: ", time::took(limit.as_secs_f64()))
        }
        Parting::Interrupted | Parting::Ended | Parting::Held => String::new(),
    };
    let at = current(rollout)
        .map(|step| format!(", at step {} {}", harmless(&step.name), harmless(&step.on)))
        .unwrap_or_default();
    let id = rollout.id;
    let head = format!("{why}rollout {id} ({}) goes on{at}", what(rollout));
    let mut text = hanging("", &head, look.width);
    let _ = writeln!(text, "  join it:    aibkctl wait {id}");
    if rollout.committed {
        text.push_str("  it is past its point of no return and can no longer be cancelled\n");
    } else {
        let _ = writeln!(text, "  cancel it:  aibkctl cancel {id}");
    }
    text
}

#[cfg(test)]
mod tests;
