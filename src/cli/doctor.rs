//! `doctor`: looks at this host, and says what is wrong and what to do next. Needs no daemon.

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    Ended,
    daemon::Daemon,
    exit::Exit,
    layout::{hanging, harmless},
    look::{self, Look},
    screen::{Format, Screen, complain},
};
use crate::{
    api::types::{LogLine, Logs, Rollout, RolloutState, Status, Traffic},
    config::{Config, ConfigError},
    daemon::check_host,
    doctor::{self, Finding, Known, LastWords, Past, Report, Seen, Severity, Topic},
};

/// Where the daemon has its configuration unless told otherwise.
const CONFIG: &str = "/etc/aibk/aibk.yaml";

/// Lines that are the last words of an instance.
const WORDS: usize = 3;

/// What to look at.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The configuration; default: the daemon's, or /etc/aibk/aibk.yaml where it does not run
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Told<'r> {
    config: &'r Path,
    problems: usize,
    warnings: usize,
    findings: &'r [Finding],
}

pub(super) async fn run(args: &DoctorArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let status = daemon.status().await;
    let told = status.as_ref().ok().map(|status| PathBuf::from(&status.daemon.config));
    let path = args.config.clone().or(told).unwrap_or_else(|| CONFIG.into());
    let past = match &status {
        Ok(status) => past(status, &daemon.rollouts().await.unwrap_or_default(), &path),
        Err(_) => Past::default(),
    };
    let seen = match status {
        Ok(status) => {
            let words = words(&status, daemon).await;
            Seen::Answers { status: Box::new(status), words }
        }
        Err(error) => Seen::Silent(error.to_string()),
    };
    let report = match Config::load(&path) {
        Ok(config) => {
            let known = Known { seen, lacks: check_host(&config).await, past };
            doctor::examine(&config, known, &|what| tell(screen, what)).await
        }
        Err(mistakes) => doctor::without_config(&seen, mistake(&path, &mistakes)),
    };
    clear(screen);
    let told = Told {
        config: &path,
        problems: report.count(Severity::Problem),
        warnings: report.count(Severity::Warning),
        findings: &report.findings,
    };
    screen.show(&told, |look| text(&report, look))?;
    Ok(if told.problems == 0 { Exit::Done } else { Exit::Failed })
}

fn mistake(path: &Path, mistakes: &ConfigError) -> Finding {
    Finding {
        topic: Topic::Configuration,
        severity: Severity::Problem,
        observed: mistakes.to_string().trim_end().to_owned(),
        next: Some(format!(
            "correct {}, or name another with --config; nothing else was looked at",
            path.display()
        )),
    }
}

/// Says on a terminal what is looked at: a server that does not answer takes seconds.
fn tell(screen: Screen, what: &str) {
    if screen.format == Format::Text && std::io::stderr().is_terminal() {
        complain(&format!("\r\u{1b}[Klooking at {what} …"));
    }
}

fn clear(screen: Screen) {
    if screen.format == Format::Text && std::io::stderr().is_terminal() {
        complain("\r\u{1b}[K");
    }
}

async fn words(status: &Status, daemon: &Daemon) -> Vec<LastWords> {
    let mut words = Vec::new();
    for instance in Seen::unwell(status) {
        let how = Logs { of: Some(instance.clone()), n: Some(WORDS), ..Logs::default() };
        let Ok(mut answer) = daemon.logs(&how).await else { continue };
        let mut lines = Vec::new();
        while let Ok(Some(line)) = answer.next::<LogLine>().await {
            lines.push(line.text);
        }
        words.push(LastWords { instance, lines });
    }
    words
}

/// How it last worked: `rollouts` has the newest first.
fn past(status: &Status, rollouts: &[Rollout], config: &Path) -> Past {
    let named = |one: &Rollout| format!("rollout {} ({} of {})", one.id, one.kind, one.service);
    let good = rollouts.iter().position(|one| one.state == RolloutState::Done);
    let (newer, older) = rollouts.split_at(good.unwrap_or(rollouts.len()));
    let mut releases = BTreeMap::new();
    for one in older.iter().filter(|one| one.state == RolloutState::Done) {
        if let Some(release) = &one.release {
            releases.entry(one.service.clone()).or_insert_with(|| release.clone());
        }
    }
    let ended = |one: &Rollout| {
        let begun: Timestamp = one.begun.parse().ok()?;
        begun.checked_add(SignedDuration::try_from_secs_f64(one.elapsed_s).ok()?).ok()
    };
    let bad = |one: &&Rollout| matches!(one.state, RolloutState::Undone | RolloutState::Stuck);
    let failed = |one: &Rollout| {
        let why = one.failure.as_deref().and_then(|why| why.lines().next()).unwrap_or("no reason");
        format!("{} failed: {why}", named(one))
    };
    let mut now = BTreeMap::new();
    for service in &status.services {
        for seen in service.instances.iter().filter(|i| i.traffic == Some(Traffic::Serving)) {
            if let Some(release) = &seen.release {
                now.insert(seen.name.clone(), (service.name.clone(), release.clone()));
            }
        }
    }
    Past {
        good: older.first().and_then(|one| Some((ended(one)?, named(one)))),
        releases,
        now,
        failed: newer.iter().rev().filter(bad).map(failed).collect(),
        config: config.to_owned(),
    }
}

fn text(report: &Report, look: Look) -> String {
    let mut text = String::new();
    let mut topic = None;
    for finding in &report.findings {
        if topic.replace(finding.topic) != Some(finding.topic) {
            let head = look.paint(look::STRONG, &finding.topic.to_string());
            text.push_str(if text.is_empty() { "" } else { "\n" });
            text.push_str(&(head + "\n"));
        }
        text.push_str(&entry(finding, look));
    }
    let count = |severity, word: &str| {
        let count = report.count(severity);
        format!("{count} {word}{}", if count == 1 { "" } else { "s" })
    };
    let problems = count(Severity::Problem, "problem");
    let problems = match report.worst() {
        Severity::Problem => look.paint(look::BAD, &problems),
        Severity::Ok | Severity::Warning => look.paint(look::GOOD, &problems),
    };
    let warnings = count(Severity::Warning, "warning");
    text + &format!("\n{problems}, {warnings}\n")
}

fn entry(finding: &Finding, look: Look) -> String {
    let (word, style) = match finding.severity {
        Severity::Ok => ("ok", look::GOOD),
        Severity::Warning => ("warning", look::PENDING),
        Severity::Problem => ("problem", look::BAD),
    };
    let first = format!("  {word:<9}");
    let body = hanging(&first, &harmless(&finding.observed), look.width);
    let painted = format!("  {}{}", look.paint(style, word), " ".repeat(9 - word.len()));
    let body = body.replacen(&first, &painted, 1);
    let next = finding.next.as_ref();
    let next = next.map(|next| hanging("           next: ", &harmless(next), look.width));
    body + &next.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn findings_are_told_by_topic_with_their_next_steps() {
        let finding = |topic, severity, observed: &str, next: Option<&str>| Finding {
            topic,
            severity,
            observed: observed.to_owned(),
            next: next.map(str::to_owned),
        };
        let report = Report {
            findings: vec![
                finding(Topic::Daemon, Severity::Ok, "aibkd 0.1.0 answers (pid 7)", None),
                finding(
                    Topic::Ports,
                    Severity::Problem,
                    "port 8000 of api@8000 is held by pid 91 of ai-bookkeeping-api@8000.service \
                     (uvicorn app.main:app)",
                    Some(
                        "stop that (systemctl disable --now ai-bookkeeping-api@8000.service), or \
                         give api@8000 another port",
                    ),
                ),
                finding(Topic::Ports, Severity::Ok, "port 8001 of api@8001 is free", None),
                finding(
                    Topic::Nginx,
                    Severity::Warning,
                    "502: nobody listened (2 times):\n[error] connect() failed\u{1b}[2J",
                    Some("see whether it runs"),
                ),
            ],
        };
        insta::assert_snapshot!(text(&report, Look::PAGE));
        assert!(text(&report, Look::COLOURED).contains("\u{1b}[1m"));
        let well = Report::default();
        assert_eq!(text(&well, Look::PAGE), "\n0 problems, 0 warnings\n");
    }

    #[test]
    fn how_it_last_worked_is_the_newest_rollout_that_was_done() {
        let status = samples::all_fine();
        let rollout = |id: u64, state: RolloutState, release: &str| Rollout {
            id,
            state,
            service: "api".into(),
            release: Some(release.to_owned()),
            begun: "2026-01-02T03:04:05Z".into(),
            elapsed_s: 5.0,
            ..samples::done_rolling()
        };
        let rollouts = [
            rollout(9, RolloutState::Undone, "v3"),
            rollout(8, RolloutState::Done, "v2"),
            rollout(7, RolloutState::Done, "v1"),
        ];
        let past = past(&status, &rollouts, Path::new("/a.yaml"));
        let (at, what) = past.good.unwrap();
        assert_eq!(at.to_string(), "2026-01-02T03:04:10Z");
        assert!(what.starts_with("rollout 8 ("), "{what}");
        assert_eq!(past.releases["api"], "v2");
        assert_eq!(past.failed.len(), 1);
        assert!(past.failed[0].starts_with("rollout 9 ("));
    }
}
