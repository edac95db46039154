//! `releases`: what there is to go back to.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{
    Ended,
    app::Which,
    daemon::Daemon,
    exit::Exit,
    failure::Failure,
    layout::{Cell, Column, Fit, hanging, harmless, table},
    look::{self, Look},
    screen::Screen,
    time::Clock,
};
use crate::api::{
    deploys::Fate,
    types::{OfRelease, Release, ReleaseState},
};

/// What is done to releases.
#[derive(Debug, Subcommand)]
pub(super) enum ReleasesVerb {
    /// List the releases of an application, newest first
    List(ListArgs),
    /// Show one release
    Show(OneArgs),
    /// Keep a release whatever comes
    Pin(OneArgs),
    /// Let a release go when its time comes
    Unpin(OneArgs),
    /// Remove a release that nothing needs
    Remove(OneArgs),
}

/// Of which application.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    which: Which,
}

/// Which release.
#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// The release, as `aibkctl releases list` shows it
    release: String,
    #[command(flatten)]
    which: Which,
}

pub(super) async fn run(verb: &ReleasesVerb, daemon: &Daemon, screen: Screen) -> Ended {
    match verb {
        ReleasesVerb::List(args) => {
            let app = args.which.one(daemon).await?;
            let (clock, now) = (Clock::SYSTEM, Timestamp::now());
            let releases = daemon.releases(&app).await?;
            screen.show(&releases, |look| list(&releases, clock, now, look))?;
        }
        ReleasesVerb::Show(args) => {
            let app = args.which.one(daemon).await?;
            let releases = daemon.releases(&app).await?;
            let release = releases.into_iter().find(|release| release.id == args.release);
            let release = release.ok_or_else(|| {
                let what = format!("there is no release {} of {app}", args.release);
                Failure::here(what, "`aibkctl releases list` shows what there is")
            })?;
            let (clock, now) = (Clock::SYSTEM, Timestamp::now());
            screen.show(&release, |look| one(&release, clock, now, look))?;
        }
        ReleasesVerb::Pin(args) => args.decide(Fate::Pinned, daemon, screen).await?,
        ReleasesVerb::Unpin(args) => args.decide(Fate::Unpinned, daemon, screen).await?,
        ReleasesVerb::Remove(args) => args.decide(Fate::Removed, daemon, screen).await?,
    }
    Ok(Exit::Done)
}

impl OneArgs {
    async fn decide(&self, fate: Fate, daemon: &Daemon, screen: Screen) -> Result<(), Failure> {
        let app = self.which.one(daemon).await?;
        let which = OfRelease { release: self.release.clone() };
        let left = daemon.decide_on(&app, fate, &which).await?;
        let done = match fate {
            Fate::Pinned => "is kept whatever comes",
            Fate::Unpinned => "goes when its time comes",
            Fate::Removed => "is removed",
        };
        screen.show(&left, |_| format!("release {} {done}\n", harmless(&self.release)))
    }
}

const COLUMNS: [Column; 5] = [
    Column("RELEASE", Fit::Whole),
    Column("STATE", Fit::Whole),
    Column("BUILT", Fit::Broken),
    Column("RUNS", Fit::Broken),
    Column("SUBJECT", Fit::Broken),
];

fn list(releases: &[Release], clock: Clock, now: Timestamp, look: Look) -> String {
    if releases.is_empty() {
        return "no release yet\n".to_owned();
    }
    let row = |release: &Release| {
        vec![
            Cell::plain(&release.id),
            Cell::styled(&state(release), style(release)),
            Cell::maybe(built(release, clock, now).as_ref()),
            Cell::maybe((!release.runs.is_empty()).then(|| release.runs.join(" ")).as_ref()),
            Cell::maybe(release.code.as_ref().map(|code| &code.subject)),
        ]
    };
    table(&COLUMNS, &releases.iter().map(row).collect::<Vec<_>>(), look)
}

fn one(release: &Release, clock: Clock, now: Timestamp, look: Look) -> String {
    let code = release.code.as_ref();
    let lines = [
        ("release", Some(release.id.clone())),
        ("state", Some(state(release))),
        ("built", built(release, clock, now)),
        ("by", release.by.clone()),
        ("commit", code.map(|code| code.commit.clone())),
        ("subject", code.map(|code| code.subject.clone())),
        ("author", code.map(|code| code.author.clone())),
        ("ref", code.and_then(|code| code.reference.clone())),
        ("runs", (!release.runs.is_empty()).then(|| release.runs.join(" "))),
        ("broken", release.broken.clone()),
    ];
    let line = |(name, value): &(&str, Option<String>)| {
        let value = value.as_deref()?;
        Some(hanging("", &format!("{name:<8} {}", harmless(value)), look.width))
    };
    lines.iter().filter_map(line).collect()
}

fn built(release: &Release, clock: Clock, now: Timestamp) -> Option<String> {
    release.built.as_ref().map(|built| clock.second_of(built, now))
}

fn state(release: &Release) -> String {
    let word = match release.state {
        _ if release.broken.is_some() => "broken",
        ReleaseState::Current => "current",
        ReleaseState::Good => "good",
        ReleaseState::Failed => "failed",
        ReleaseState::Unused => "unused",
    };
    if release.pinned { format!("{word}, pinned") } else { word.to_owned() }
}

const fn style(release: &Release) -> anstyle::Style {
    match release.state {
        _ if release.broken.is_some() => look::BAD,
        ReleaseState::Current => look::GOOD,
        ReleaseState::Failed => look::BAD,
        ReleaseState::Good | ReleaseState::Unused => look::PENDING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Code;

    fn release(id: &str, state: ReleaseState) -> Release {
        Release {
            id: id.to_owned(),
            code: Some(Code {
                commit: "1a2b3c4d5e6f708192a3b4c5d6e7f80910111213".to_owned(),
                subject: "Let accounts be closed".to_owned(),
                author: "Ada <ada@example.org>".to_owned(),
                reference: Some("main".to_owned()),
            }),
            built: Some("2026-03-01T11:00:00Z".to_owned()),
            by: Some("uid 0".to_owned()),
            state,
            runs: vec![],
            pinned: false,
            broken: None,
        }
    }

    #[test]
    fn releases_are_a_table_and_one_of_them_a_page() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let mut current = release("20260301T110000Z-1a2b3c4d5e6f", ReleaseState::Current);
        current.runs = vec!["api@8000".to_owned(), "admin@8002".to_owned()];
        let mut old = release("20260220T070000Z-0f1e2d3c4b5a", ReleaseState::Good);
        old.pinned = true;
        let failed = release("20260221T070000Z-aaaaaaaaaaaa", ReleaseState::Failed);
        let all = [current.clone(), failed, old];
        insta::assert_snapshot!(list(&all, Clock::UTC, now, Look::PAGE));
        insta::assert_snapshot!("one", one(&current, Clock::UTC, now, Look::PAGE));
    }
}
