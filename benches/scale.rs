//! Many services: started, listed, adopted, stopped, and what that takes of the memory.
//!
//! Every service is the same small program, which tells its first instruction. Floor: this process
//! spawns and kills as many by itself; for `aibkctl status`, it runs a program that only ends. Peers:
//! supervisord and runit, where they are installed. `SCALE=100` in the environment measures that size
//! alone.
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

use std::{
    fmt::Write as _,
    os::fd::OwnedFd,
    process::{Child, Command},
    time::Duration,
};

use common::{
    Against, Figure, Table,
    memory::Memory,
    peers::Peer,
    rest,
    stamps::{Stamps, compile, now, readable},
    until,
};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::json;
use support::Stage;
use tempfile::TempDir;

/// How many services, and how often each is measured.
const SIZES: [(usize, usize); 2] = [(100, 5), (1000, 2)];
/// What must be over before memory is looked at: threads that were needed are kept for ten seconds.
const SETTLE: Duration = Duration::from_secs(12);
/// How often the status is asked for in a round.
const LISTINGS: usize = 10;
/// What is promised of the memory of a daemon with a thousand services, in MiB.
const MEMORY_MIB: f64 = 12.0;

fn main() {
    let only = std::env::var("SCALE").ok().and_then(|only| only.parse::<usize>().ok());
    for (services, rounds) in SIZES.into_iter().filter(|(n, _)| only.is_none_or(|o| o == *n)) {
        let mut seen = Seen::default();
        for _ in 0..rounds {
            floor(services, &mut seen);
            aibkd(services, &mut seen);
        }
        let peers: Vec<_> =
            Peer::installed().into_iter().map(|peer| (peer, peered(peer, services))).collect();
        seen.print(services, rounds, &peers);
    }
}

#[derive(Default)]
struct Seen {
    start: Figure,
    ready: Figure,
    listed: Figure,
    adopted: Figure,
    stop: Figure,
    floor_start: Figure,
    floor_stop: Figure,
    floor_listed: Figure,
    memory: Option<Memory>,
    /// ext4 is slow to make files right after it has removed many.
    kept: Vec<TempDir>,
}

/// What was seen of a peer.
#[derive(Default)]
struct Peered {
    start: Figure,
    stop: Figure,
    memory: f64,
}

impl Seen {
    fn print(&self, services: usize, rounds: usize, peers: &[(Peer, Peered)]) {
        let mut table = Table::new(&format!("{services} services, {rounds} rounds"));
        table
            .row(
                "start: until the last one runs",
                &self.start,
                Against::Target(&self.floor_start, 2.0),
            )
            .row("  until aibkd is READY", &self.ready, Against::Only(&self.floor_start))
            .row("  floor: posix_spawn", &self.floor_start, Against::Floor);
        for (peer, seen) in peers {
            table.row(&format!("  {}", peer.name()), &seen.start, Against::Only(&self.floor_start));
        }
        table
            .row(
                "stop: until the last one is gone",
                &self.stop,
                Against::Target(&self.floor_stop, 2.0),
            )
            .row("  floor: kill, poll(pidfd), wait", &self.floor_stop, Against::Floor);
        for (peer, seen) in peers {
            table.row(&format!("  {}", peer.name()), &seen.stop, Against::Only(&self.floor_stop));
        }
        let promised =
            |within| if services <= 100 { Against::Within(within) } else { Against::Part };
        table
            .row("status: `aibkctl status`, whole", &self.listed, promised(5.0))
            .row("  floor: a program that only ends", &self.floor_listed, Against::Floor)
            .row("adopt: next daemon, until READY", &self.adopted, promised(100.0));
        if let Some(memory) = self.memory {
            let mut line = format!("memory (PSS): aibkd {:.1} (<= {MEMORY_MIB}) MiB", memory.pss);
            for (peer, seen) in peers {
                let _ = write!(line, ", {} {:.1} MiB", peer.name(), seen.memory);
            }
            table.note(&line);
        }
        table.print();
    }
}

fn floor(services: usize, seen: &mut Seen) {
    let home = tempfile::tempdir().expect("a directory");
    let program = compile(home.path());
    let stamps = Stamps::at(home.path().join("stamps"));
    let mut command = Command::new(&program);
    command.arg(&stamps.path);
    let begun = now();
    let mut children: Vec<Child> = (0..services).map(|_| spawn(&mut command)).collect();
    let pids: Vec<Pid> = last_of(services, &stamps, begun, &mut seen.floor_start);
    let watched = watch(&pids);
    let begun = now();
    for pid in &pids {
        kill_process(*pid, Signal::TERM).expect("a child");
    }
    all_gone(&watched);
    for child in &mut children {
        child.wait().expect("a child");
    }
    seen.floor_stop.add(now().saturating_sub(begun));
    // Without its argument it ends at once.
    let mut idle = Command::new(&program);
    for _ in 0..LISTINGS {
        seen.floor_listed.add(whole(&mut idle));
    }
}

/// A process from its start to its end.
fn whole(command: &mut Command) -> Duration {
    let begun = now();
    // Not by the test's own means, which wait by looking: that is too coarse here.
    command.output().expect("a program");
    now().saturating_sub(begun)
}

fn aibkd(services: usize, seen: &mut Seen) {
    let mut stage = Stage::new();
    let program = compile(stage.dir());
    let stamps = Stamps::at(stage.path("stamps"));
    stage.settings.remove("services.api").remove("nginx");
    let directory = stage.path("");
    let (run, logs) = (in_memory(), tempfile::tempdir_in("/tmp").expect("a directory"));
    std::fs::create_dir(stage.path("run")).expect("a directory");
    stage.settings.set("runtime_dir", json!(run.path())).set("log_dir", json!(logs.path()));
    for n in 0..services {
        let service = json!({
            "command": [&program, &stamps.path],
            "directory": &directory,
            "env": {"TEST_STAGE": &directory},
            "ready": {"alive": "1ms"},
        });
        stage.settings.set(&format!("services.s{n}"), service);
    }
    stage.write_files();
    let begun = now();
    stage.launch();
    let pids = last_of(services, &stamps, begun, &mut seen.start);
    ready(&mut stage);
    seen.ready.add(now().saturating_sub(begun));

    let mut status = stage.aibkctl(&["status"]);
    support::run(&mut status, support::LONG).expect(0);
    for _ in 0..LISTINGS {
        seen.listed.add(whole(&mut status));
    }
    if seen.memory.is_none() {
        rest(SETTLE);
        seen.memory = Some(Memory::of(stage.daemon_pid()));
    }

    stage.kill_daemon();
    let begun = now();
    stage.launch();
    ready(&mut stage);
    seen.adopted.add(now().saturating_sub(begun));

    let watched = watch(&pids);
    let begun = now();
    kill_process(Pid::from_raw(stage.daemon_pid()).expect("a pid"), Signal::TERM).expect("aibkd");
    all_gone(&watched);
    seen.stop.add(now().saturating_sub(begun));
    stage.stop_daemon();
    seen.kept.push(logs);
}

/// Where `/run` is in memory, the daemon's FIFOs are.
fn in_memory() -> TempDir {
    let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir_in("/tmp"));
    made.expect("a directory")
}

/// Not by the test's own means, as above.
fn ready(stage: &mut Stage) {
    until("READY", || stage.notified().iter().any(|line| line == "READY=1"));
}

fn peered(peer: Peer, services: usize) -> Peered {
    let home = tempfile::tempdir_in("/tmp").expect("a directory");
    let program = compile(home.path());
    let stamps = Stamps::at(home.path().join("stamps"));
    let mut command = peer.prepare(home.path(), services, &program, &stamps.path);
    let mut seen = Peered::default();
    let begun = now();
    let mut supervisor = spawn(&mut command);
    let pids = last_of(services, &stamps, begun, &mut seen.start);
    rest(SETTLE);
    let main = i32::try_from(supervisor.id()).expect("a pid");
    seen.memory = peer.helpers(main).into_iter().chain([main]).map(|pid| Memory::of(pid).pss).sum();
    let watched = watch(&pids);
    let begun = now();
    let main = Pid::from_raw(main).expect("a pid");
    kill_process(main, peer.stop_signal()).expect("the supervisor");
    all_gone(&watched);
    seen.stop.add(now().saturating_sub(begun));
    supervisor.wait().expect("the supervisor");
    seen
}

/// Waits for `services` stamps; takes down when the last one was made.
fn last_of(services: usize, stamps: &Stamps, begun: Duration, into: &mut Figure) -> Vec<Pid> {
    let all: Vec<_> = (0..services).map(|_| stamps.next()).collect();
    let last = all.iter().map(|stamp| stamp.at).max().unwrap_or_default();
    into.add(last.saturating_sub(begun));
    all.into_iter().map(|stamp| stamp.pid).collect()
}

fn watch(pids: &[Pid]) -> Vec<OwnedFd> {
    pids.iter().map(|pid| pidfd_open(*pid, PidfdFlags::empty()).expect("a pidfd")).collect()
}

fn all_gone(watched: &[OwnedFd]) {
    for pidfd in watched {
        readable(pidfd, "an end");
    }
}

fn spawn(command: &mut Command) -> Child {
    #[expect(clippy::disallowed_methods, reason = "the floor is posix_spawn(3), by std")]
    command.spawn().expect("a child")
}
