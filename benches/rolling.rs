//! A rolling update of two slots under half of the load that the machine can bear: how long it takes, and
//! what clients see. Beside it, under the same load, what as many bare reloads of nginx and starts of the
//! application do to them, and the sequence of the script that aibk replaces. Then a thousand swaps in a
//! row, and what they leave behind (fewer with `AIBK_SWAPS`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    clippy::missing_errors_doc,
    missing_docs,
    unreachable_pub,
    reason = "it fails by panicking, and nobody reads its interface elsewhere"
)]

#[path = "common/mod.rs"]
mod common;
#[path = "rolling/peer.rs"]
mod peer;
#[allow(dead_code, unused_imports, reason = "a benchmark needs a part of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::{fs, path::Path, time::Duration};

use aibk::api::types::{Rollout, RolloutState};
use common::{memory::Memory, rest};
use serde_json::json;
use support::{
    LONG, Stage, children_of,
    load::{Load, Plan, Report},
    run, wait_for,
};

const ROUNDS: usize = 5;
const PHASE: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 16;
/// What an operator gets who configures nothing, and how often that is measured.
const WATCH: &str = "10s";
const WATCHED: usize = 3;
const TARGET: &str = "<= 1.5";

fn main() {
    let mut stage = pair("shared", "0s");
    let (capacity, half) = half_of_capacity(&stage);
    println!(
        "rolling update of two slots, {ROUNDS} rounds, under {:.0} requests/s (half of {capacity:.0})\n",
        capacity / 2.0
    );
    let ours: Vec<Round> = (0..ROUNDS).map(|round| roll(&mut stage, half, round)).collect();
    show(&ours);
    show_clients("rolling update, nothing watched", &pairs(&ours), TARGET);
    let bare: Vec<_> = (0..ROUNDS).map(|_| peer::bare(&stage, half, PHASE)).collect();
    show_clients(
        "three bare reloads, two bare starts",
        &bare.iter().map(|(before, during)| (before, during)).collect::<Vec<_>>(),
        "",
    );
    let naive: Vec<Report> = (0..ROUNDS).map(|_| peer::script(&stage, half)).collect();
    drop(stage);
    let mut usual = pair("shared", WATCH);
    let watched: Vec<_> = (0..WATCHED).map(|round| roll(&mut usual, half, round)).collect();
    drop(usual);
    show_clients(&format!("rolling update, watched for {WATCH}"), &pairs(&watched), TARGET);
    println!();
    losses("aibkctl rolling", ours.iter().map(|round| &round.during));
    losses("the script: start 8001, restart 8000", naive.iter());
    println!();
    swaps(&pair("hot", "0s"));
}

/// Two slots whose releases are watched for so long.
fn pair(standby: &str, watch: &str) -> Stage {
    let mut stage = Stage::new();
    stage.settings.set(
        "services.api.rollout",
        json!({"watch": watch, "keep_old": "10m", "standby": standby}),
    );
    stage.start();
    wait_for("both slots", LONG, || (standby == "hot" || stage.serving().len() == 2).then_some(()));
    stage
}

/// Requests a second that are answered when clients do not pause, and a plan for half of them.
fn half_of_capacity(stage: &Stage) -> (f64, Plan) {
    let all = Plan { posts: CONNECTIONS / 4, ..Plan::gets(stage.address(), CONNECTIONS * 3 / 4) };
    let full = during(Plan { pause: Duration::ZERO, ..all }, || rest(PHASE)).0;
    let capacity = f64::from(u32::try_from(full.answered).unwrap()) / full.seconds;
    let connections = f64::from(u32::try_from(CONNECTIONS).unwrap());
    // An answer takes little while nobody waits in line.
    let pause = Duration::from_secs_f64((connections / (capacity / 2.0) - 1e-3).max(0.0));
    (capacity, Plan { pause, ..all })
}

/// What clients of `plan` see while `act` lasts.
fn during<T>(plan: Plan, act: impl FnOnce() -> T) -> (Report, T) {
    let load = Load::start(plan).unwrap();
    let done = act();
    (load.finish(None).unwrap(), done)
}

struct Round {
    before: Report,
    during: Report,
    total: f64,
    starts: f64,
    drains: f64,
}

/// Rolls to another release.
fn roll(stage: &mut Stage, plan: Plan, round: usize) -> Round {
    let release = format!("v{}", round + 2);
    stage.releases.write(&release, "ok");
    stage.releases.set_current(&release);
    let plan = Plan { to: stage.address(), ..plan };
    let before = during(plan, || rest(PHASE)).0;
    let (during, ()) =
        during(plan, || drop(run(&mut stage.aibkctl(&["rolling", "api"]), LONG).expect(0)));
    let rollout = stage.rollouts().into_iter().find(|rollout| rollout.kind == "rolling").unwrap();
    assert_eq!(rollout.state, RolloutState::Done);
    Round {
        before,
        during,
        total: rollout.elapsed_s,
        starts: took(&rollout, &["start", "await-ready"]),
        drains: took(&rollout, &["drain"]),
    }
}

fn took(rollout: &Rollout, names: &[&str]) -> f64 {
    let steps = rollout.steps.iter().filter(|step| names.contains(&step.name.as_str()));
    steps.filter_map(|step| step.took_s).sum()
}

fn show(rounds: &[Round]) {
    println!("{:<44}{:>9}{:>9}{:>10}", "", "median", "max", "target");
    row("total, s", rounds, |round| round.total, "");
    row("  the two start-ups", rounds, |round| round.starts, "");
    row("  drains", rounds, |round| round.drains, "");
    row("  beyond both", rounds, |round| round.total - round.starts - round.drains, "<= 1");
}

/// What clients saw, before and meanwhile.
fn show_clients(what: &str, rounds: &[(&Report, &Report)], target: &str) {
    println!("{what}");
    row("  p99 before, ms", rounds, |(before, _)| before.p99_ms, "");
    row("  p99 during, ms", rounds, |(_, during)| during.p99_ms, "");
    row("    ratio", rounds, |(before, during)| during.p99_ms / before.p99_ms, target);
    row(
        "  longest pause between two answers, ms",
        rounds,
        |(_, during)| during.longest_pause_ms,
        "",
    );
}

fn pairs(rounds: &[Round]) -> Vec<(&Report, &Report)> {
    rounds.iter().map(|round| (&round.before, &round.during)).collect()
}

fn row<T>(what: &str, rounds: &[T], of: impl Fn(&T) -> f64, target: &str) {
    let mut all: Vec<f64> = rounds.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    let line =
        format!("{what:<44}{:>9.2}{:>9.2}{target:>10}", all[all.len() / 2], all[all.len() - 1]);
    println!("{}", line.trim_end());
}

fn losses<'a>(what: &str, reports: impl Iterator<Item = &'a Report>) {
    let (mut sent, mut lost, mut races) = (0, 0, 0);
    for report in reports {
        sent += report.sent;
        lost += report.lost;
        races += report.reuse_races;
    }
    println!("{what:<38}{lost:>6} of {sent} requests failed, {races} reuse races");
}

fn swaps(stage: &Stage) {
    let asked = std::env::var("AIBK_SWAPS").ok().and_then(|many| many.parse().ok());
    let swaps: u32 = asked.unwrap_or(1000);
    println!("swaps in a row   PSS, MiB  descriptors  threads  nginx workers  files  disk, KiB");
    for swap in 0..=swaps {
        if swap > 0 {
            run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
        }
        if [0, swaps / 10, swaps / 2, swaps].contains(&swap) {
            left_behind(stage, swap);
        }
    }
}

fn left_behind(stage: &Stage, swap: u32) {
    // What ends in the wake of a swap has ended by then.
    rest(Duration::from_secs(12));
    let pid = stage.daemon_pid();
    let memory = Memory::of(pid);
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let master = stage.status().nginx.and_then(|nginx| nginx.master).unwrap();
    let workers = children_of(master).len();
    let (mut files, mut bytes) = (0, 0);
    for place in ["run", "state", "log"] {
        let (more, size) = held_in(&stage.path(place));
        files += more;
        bytes += size;
    }
    println!(
        "{swap:>14}{:>11.2}{descriptors:>13}{:>9}{workers:>15}{files:>7}{:>11}",
        memory.pss,
        memory.threads,
        bytes / 1024
    );
}

/// Files below `dir`, and their bytes.
fn held_in(dir: &Path) -> (u64, u64) {
    let Ok(entries) = dir.read_dir() else { return (0, 0) };
    entries.flatten().fold((0, 0), |(files, bytes), entry| {
        let (more, size) = match entry.metadata() {
            Ok(seen) if seen.is_dir() => held_in(&entry.path()),
            Ok(seen) => (1, seen.len()),
            Err(_) => (0, 0),
        };
        (files + more, bytes + size)
    })
}
