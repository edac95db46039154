//! From the kill of a process to the first instruction of the one in its place.
//!
//! Floor: this process as a minimal parent, which waits on a pidfd with poll(2) and calls
//! `posix_spawn(3)`. Both sides run the same program, in turn.
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
    Against, Figure, Table, rest,
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
    Table::new(&format!("respawn: SIGKILL -> first instruction of the next, {ROUNDS} rounds"))
        .row("aibkd", &aibkd, Against::Target(&floor, 1.5))
        .row("floor: poll(pidfd) + posix_spawn", &floor, Against::Floor)
        .row("  of it: until the exit is seen", &exit, Against::Part)
        .print();
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
