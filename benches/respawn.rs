//! From the kill of a process to the first instruction of the one in its place.
//!
//! Floor: this process as a minimal parent, which waits on a pidfd with poll(2) and calls
//! `posix_spawn(3)`. Both sides run the same program, in turn. Peers: supervisord and runit, where they
//! are installed, afterwards.
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
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use common::{
    Against, Figure, Table,
    peers::Peer,
    rest,
    stamps::{Stamps, compile, now, readable},
};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::json;
use support::Stage;

const ROUNDS: usize = 200;
/// The daemon forgets a death after `STABLE`, so that the next one is answered at once; what it
/// writes down after a start is written by then, too.
const BETWEEN: Duration = Duration::from_millis(60);
const STABLE: &str = "10ms";
const TARGET: f64 = 1.3;
const PEER_ROUNDS: usize = 10;
/// runit starts at once only what has run for a second.
const BETWEEN_OF_PEERS: Duration = Duration::from_millis(1200);

fn main() {
    let mut stage = Stage::new();
    let program = compile(stage.dir());
    let (ours, theirs) = (Stamps::at(stage.path("ours")), Stamps::at(stage.path("theirs")));
    let directory = stage.path("");
    stage.settings.remove("services.api").remove("nginx").set(
        "services.stamp",
        json!({
            "command": [&program, &ours.path],
            "directory": &directory,
            "env": {"TEST_STAGE": &directory},
            "ready": {"alive": "1ms", "deadline": "5s"},
            "restart": {"stable": STABLE, "limit": 1000},
        }),
    );
    stage.start();
    let mut supervised = ours.next().pid;
    let mut parent = Parent::new(&program, &theirs);
    let (mut aibkd, mut floor, mut exit) =
        (Figure::default(), Figure::default(), Figure::default());
    for _ in 0..ROUNDS {
        rest(BETWEEN);
        let killed = now();
        kill_process(supervised, Signal::KILL).expect("a living process");
        let next = ours.next();
        supervised = next.pid;
        aibkd.add(next.at.saturating_sub(killed));
        rest(BETWEEN);
        let (killed, seen) = parent.kill_and_respawn();
        floor.add(theirs.next().at.saturating_sub(killed));
        exit.add(seen.saturating_sub(killed));
    }
    drop(parent);
    let mut table =
        Table::new(&format!("respawn: SIGKILL -> first instruction of the next, {ROUNDS} rounds"));
    table
        .row("aibkd", &aibkd, Against::Target(&floor, TARGET))
        .row("floor: poll(pidfd) + posix_spawn", &floor, Against::Floor)
        .row("  of it: until the exit is seen", &exit, Against::Part);
    for peer in Peer::installed() {
        table.row(peer.name(), &peered(peer), Against::Only(&floor));
    }
    table.print();
}

fn peered(peer: Peer) -> Figure {
    let home = tempfile::tempdir_in("/tmp").expect("a directory");
    let program = compile(home.path());
    let stamps = Stamps::at(home.path().join("stamps"));
    let mut command = peer.prepare(home.path(), 1, &program, &stamps.path);
    let supervisor = support::Running::start(&mut command);
    let mut supervised = stamps.next().pid;
    let mut figure = Figure::default();
    for _ in 0..PEER_ROUNDS {
        rest(BETWEEN_OF_PEERS);
        let killed = now();
        kill_process(supervised, Signal::KILL).expect("a living process");
        let next = stamps.next();
        supervised = next.pid;
        figure.add(next.at.saturating_sub(killed));
    }
    let pidfd = pidfd_open(supervised, PidfdFlags::empty()).expect("a living process");
    support::kill(supervisor.pid(), peer.stop_signal());
    readable(&pidfd, "an end");
    figure
}

/// The least that a parent has to do.
struct Parent {
    command: Command,
    child: Child,
    pidfd: OwnedFd,
}

impl Parent {
    fn new(program: &Path, stamps: &Stamps) -> Self {
        let mut command = Command::new(program);
        command.arg(&stamps.path);
        let child = start(&mut command);
        stamps.next();
        let pidfd = watch(&child);
        Self { command, child, pidfd }
    }

    /// When it was killed, and when that was seen.
    fn kill_and_respawn(&mut self) -> (Duration, Duration) {
        let killed = now();
        rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL).expect("a living process");
        readable(&self.pidfd, "an exit");
        let seen = now();
        self.child.wait().expect("a child");
        self.child = start(&mut self.command);
        self.pidfd = watch(&self.child);
        (killed, seen)
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(command: &mut Command) -> Child {
    #[expect(clippy::disallowed_methods, reason = "this is the floor: posix_spawn(3), by std")]
    command.spawn().expect("a child")
}

fn watch(child: &Child) -> OwnedFd {
    pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a pidfd")
}
