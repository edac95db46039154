//! What aibkd costs while nothing happens: memory (PSS), and how often it wakes up.
//!
//! Three instances (`api` and its hot standby, `admin`). First without probes, then with those of
//! the default configuration, behind a managed nginx, which is probed as well. Another aibkd that
//! runs from the same file would share its code, and so halve the PSS: run this alone.
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
#[allow(dead_code, unused_imports, reason = "a benchmark needs a part of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::{collections::BTreeMap, fs, time::Duration};

use common::{memory::Memory, rest};
use support::Stage;

const WINDOW: Duration = Duration::from_secs(30);
/// Threads that were needed to come up are kept for ten seconds.
const SETTLE: Duration = Duration::from_secs(12);
const TARGET_MIB: f64 = 5.5;

fn main() {
    let seconds = WINDOW.as_secs();
    println!("idle: aibkd with api, its hot standby and admin\n");
    println!("{:<44}{:>9}{:>9}{:>8}{:>8}", "MiB", "PSS", "of it", "target", "threads");
    println!("{:<44}{:>9}{:>9}", "", "", "private");
    let silent = look("10m", Front::None);
    silent.memory.iter().for_each(|(when, memory)| show(memory, &format!("no nginx, {when}")));
    let usual = look("5s", Front::Managed);
    usual.memory.iter().for_each(|(when, memory)| show(memory, &format!("with nginx, {when}")));
    let floor = floor();
    println!(
        "{:<44}{:>9.2}{:>9.2}",
        "floor: sleep(1), which does nothing", floor.pss, floor.private
    );
    let idle = silent.memory.last().map_or(0.0, |(_, memory)| memory.pss);
    println!("{:<44}{:>9.1}", "ratio: no nginx, idle, to the floor", idle / floor.pss);
    let head = format!("wake-ups in {seconds} s");
    println!("\n{head:<44}{:>9}{:>9}{:>8}{:>8}", "measured", "probes", "each", "floor");
    silent.show("no nginx, interval 10m", 0);
    // Three instances every 5 s (the default), nginx every 10 s.
    usual.show("with nginx, default intervals", 3 * (seconds / 5) + seconds / 10);
}

/// A process with nothing but the C library in it.
fn floor() -> Memory {
    let mut sleep = std::process::Command::new("sleep");
    let running = support::Running::start(sleep.arg("1000"));
    // Until execve(2) it is a copy of this one.
    let is_sleep =
        || fs::read(format!("/proc/{}/comm", running.pid())).is_ok_and(|name| name == b"sleep\n");
    support::wait_for("sleep", support::LONG, || is_sleep().then_some(()));
    rest(Duration::from_secs(1));
    Memory::of(running.pid())
}

/// What stands before the services.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Front {
    None,
    Managed,
}

/// What was seen of one daemon.
struct Seen {
    memory: Vec<(&'static str, Memory)>,
    wakes: BTreeMap<String, u64>,
}

fn look(interval: &str, front: Front) -> Seen {
    let mut stage = Stage::new();
    stage.settings.set("services.api.ready.interval", interval);
    stage.settings.set("services.api.live", "none");
    stage.settings.set("services.api.rollout.standby", "hot");
    stage.add_admin();
    if front == Front::None {
        stage.settings.remove("nginx");
        for service in ["api", "admin"] {
            stage.settings.remove(&format!("services.{service}.upstream"));
        }
    }
    stage.start();
    let daemon = stage.daemon_pid();
    rest(Duration::from_secs(2));
    let fresh = Memory::of(daemon);
    rest(SETTLE);
    let before = switches(daemon);
    rest(WINDOW);
    let after = switches(daemon);
    let wakes = after.into_iter().map(|(thread, n)| {
        let had = before.get(&thread).copied().unwrap_or(0);
        (thread, n - had)
    });
    let wakes = wakes.filter(|(_, n)| *n > 0).collect();
    Seen { memory: vec![("2 s after READY", fresh), ("idle", Memory::of(daemon))], wakes }
}

impl Seen {
    /// `probes` is how often somebody was asked meanwhile: a wake-up for the timer and one for the
    /// answer is the least that each costs.
    fn show(&self, what: &str, probes: u64) {
        let all: u64 = self.wakes.values().sum();
        let floor = if probes == 0 { "0" } else { "2.0" };
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let each =
            if probes == 0 { String::new() } else { format!("{:.1}", all as f64 / probes as f64) };
        println!("{}", format!("{what:<44}{all:>9}{probes:>9}{each:>8}{floor:>8}").trim_end());
        self.wakes.iter().for_each(|(thread, n)| println!("  {thread:<42}{n:>9}"));
    }
}

fn show(memory: &Memory, what: &str) {
    let Memory { pss, private, threads } = memory;
    let target = format!("<= {TARGET_MIB}");
    println!("{what:<44}{pss:>9.2}{private:>9.2}{target:>8}{threads:>8}");
}

/// How often each thread has gone to sleep, and so how often it was woken.
fn switches(pid: i32) -> BTreeMap<String, u64> {
    let of = |task: String| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{task}/status")).ok()?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let n = value("voluntary_ctxt_switches:")?.trim().parse().ok()?;
        Some((format!("{} ({task})", value("Name:")?.trim()), n))
    };
    tasks(pid).into_iter().filter_map(of).collect()
}

fn tasks(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon").flatten();
    tasks.map(|task| task.file_name().to_string_lossy().into_owned()).collect()
}
