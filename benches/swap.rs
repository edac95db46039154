//! A swap of a warm pair: from the request on the control socket to its proved end.
//!
//! Floor, on the same nginx and the same file: replace the file, SIGHUP, and look until the new
//! edition answers and no worker from before accepts. Beside it the same swap by a flag, on an nginx
//! of its own.
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
    fs::{self, File},
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use aibk::api::{
    client::{Client, target},
    types::{Roll, Rollout, RolloutState, Wait},
};
use common::{Against, Figure, Table, rest};
use rustix::process::Signal;
use serde_json::json;
use support::{LONG, Stage, children_of, kill, wait_for};

const ROUNDS: usize = 30;
/// Between two looks of the floor: nginx itself needs the processors meanwhile.
const LOOK: Duration = Duration::from_micros(500);
const BETWEEN: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Figures {
    flip: Figure,
    flip_publish: Figure,
    rollback: Figure,
    request: Figure,
    publish: Figure,
    command: Figure,
    floor: Figure,
    test: Figure,
    durable: Figure,
    commit: Figure,
}

/// A warm pair that is switched as `switch` says, and looked at by nobody.
fn pair(switch: &str) -> Stage {
    let mut stage = Stage::new();
    stage
        .settings
        .set("services.api.rollout", json!({"watch": "0s", "keep_old": "10m", "standby": "hot"}))
        .set("services.api.upstream.switch", switch)
        .set("services.api.live", "none")
        .set("services.api.ready.interval", "10m");
    stage.start();
    stage
}

fn main() {
    let (stage, flipping) = (pair("reload"), pair("flip"));
    let flips = Client::new(flipping.socket());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (client, nginx, disk) = (Client::new(stage.socket()), Nginx::of(&stage), Disk::of(&stage));
    let mut took = Figures::default();
    for round in 0..=ROUNDS {
        let mut of_round = Figures::default();
        nginx.settle();
        let begun = Instant::now();
        let swapped = runtime.block_on(go(&client, "swap"));
        of_round.request.add(begun.elapsed());
        of_round.publish.add(step(&swapped, "publish"));
        nginx.settle();
        let begun = Instant::now();
        runtime.block_on(go(&client, "rollback"));
        of_round.rollback.add(begun.elapsed());
        nginx.settle();
        let begun = Instant::now();
        let flipped = runtime.block_on(go(&flips, "swap"));
        of_round.flip.add(begun.elapsed());
        of_round.flip_publish.add(step(&flipped, "publish"));
        rest(BETWEEN);
        of_round.floor.add(nginx.reload());
        nginx.settle();
        of_round.command.add(run(&mut stage.aibkctl(&["swap", "api"])));
        nginx.settle();
        of_round.test.add(nginx.test());
        of_round.durable.add(disk.replace());
        of_round.commit.add(disk.append());
        // The first round warms caches.
        if round > 0 {
            took.take(of_round);
        }
    }
    show(&took);
}

fn show(took: &Figures) {
    Table::new(&format!("swap of a warm pair, until it is proved, {ROUNDS} rounds"))
        .row("request on the control socket", &took.request, Against::Target(&took.floor, 1.3))
        .row("aibkctl swap, the whole process", &took.command, Against::Only(&took.floor))
        .row("floor: rename + SIGHUP + proved", &took.floor, Against::Floor)
        .row("  of the request: step `publish`", &took.publish, Against::Part)
        .row("request to go back (rollback)", &took.rollback, Against::Within(1000.0))
        .row("request, by a flag", &took.flip, Against::Within(10.0))
        .row("  of the request: step `publish`", &took.flip_publish, Against::Part)
        .row("  each alone: nginx -t", &took.test, Against::Part)
        .row("    file and directory, fsynced", &took.durable, Against::Part)
        .row("    one append, fdatasynced", &took.commit, Against::Part)
        .note("An append is what each durable step of the rollout costs at least.")
        .print();
}

impl Figures {
    fn take(&mut self, round: Self) {
        self.flip.join(round.flip);
        self.flip_publish.join(round.flip_publish);
        self.rollback.join(round.rollback);
        self.request.join(round.request);
        self.publish.join(round.publish);
        self.command.join(round.command);
        self.floor.join(round.floor);
        self.test.join(round.test);
        self.durable.join(round.durable);
        self.commit.join(round.commit);
    }
}

/// Asks for a swap, or for the way back, and waits for its end, as any client would.
async fn go(client: &Client, verb: &str) -> Rollout {
    let path = format!("/v1/services/api/{verb}");
    let mut rollout: Rollout = client.post(&path, &Roll::default()).await.expect(verb);
    while !rollout.state.ended() {
        let how = Wait { revision: rollout.revision, timeout_s: Some(30.0) };
        let path = target(&format!("/v1/rollouts/{}/wait", rollout.id), &how).unwrap();
        rollout = client.get_within(&path, LONG).await.expect("the rollout");
    }
    assert_eq!(rollout.state, RolloutState::Done, "{rollout:?}");
    rollout
}

fn step(rollout: &Rollout, name: &str) -> Duration {
    let steps = rollout.steps.iter().filter(|step| step.name == name);
    Duration::from_secs_f64(steps.filter_map(|step| step.took_s).sum())
}

/// The nginx that aibkd runs, and the file that it owns.
struct Nginx {
    directory: PathBuf,
    file: PathBuf,
    proof: PathBuf,
    master: i32,
}

impl Nginx {
    fn of(stage: &Stage) -> Self {
        let pid = fs::read_to_string(stage.path("nginx.pid")).expect("nginx runs");
        Self {
            directory: stage.path(""),
            file: stage.path("run/nginx-aibk.conf"),
            proof: stage.path("run/nginx.sock"),
            master: pid.trim().parse().expect("a pid"),
        }
    }

    /// Waits until nothing is left of an earlier reload.
    fn settle(&self) {
        wait_for("old workers to be gone", LONG, || {
            let mut workers = children_of(self.master);
            workers.retain(|pid| !accepts(*pid));
            workers.is_empty().then_some(())
        });
        rest(BETWEEN);
    }

    /// The floor.
    fn reload(&self) -> Duration {
        let text = fs::read_to_string(&self.file).expect("the owned file");
        let edition = self.edition().expect("an answer");
        let member = |edition: u64| format!("{{\"edition\":{edition},");
        let next = text.replace(&member(edition), &member(edition + 1));
        assert_ne!(next, text, "the file does not say its edition as it used to");
        let old = children_of(self.master);
        let begun = Instant::now();
        let beside = self.directory.join("next");
        fs::write(&beside, next).expect("a file");
        fs::rename(&beside, &self.file).expect("the owned file");
        kill(self.master, Signal::HUP);
        while old.iter().any(|pid| accepts(*pid)) || self.edition() != Some(edition + 1) {
            assert!(begun.elapsed() < LONG, "nginx does not take its configuration");
            rest(LOOK);
        }
        begun.elapsed()
    }

    fn edition(&self) -> Option<u64> {
        let mut stream = UnixStream::connect(&self.proof).ok()?;
        stream.write_all(b"GET /aibk HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str::<serde_json::Value>(body).ok()?["edition"].as_u64()
    }

    fn test(&self) -> Duration {
        let mut command = Command::new("nginx");
        command.arg("-t").arg("-c").arg(self.directory.join("nginx.conf"));
        command.arg("-p").arg(&self.directory);
        run(&mut command)
    }
}

/// A whole process, from its start to its end.
fn run(command: &mut Command) -> Duration {
    let begun = Instant::now();
    // Not by the test's own means, which wait by looking: that is too coarse here.
    let output = command.output().expect("a program");
    assert!(output.status.success(), "{command:?}: {output:?}");
    begun.elapsed()
}

/// By the title that nginx gives its processes.
fn accepts(pid: i32) -> bool {
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    !title.is_empty() && !String::from_utf8_lossy(&title).contains("shutting down")
}

/// What a durable write costs where aibkd makes its own.
struct Disk {
    directory: PathBuf,
    log: File,
}

impl Disk {
    fn of(stage: &Stage) -> Self {
        let directory = stage.path("bench");
        fs::create_dir(&directory).expect("a directory");
        let log = File::create(directory.join("log")).expect("a file");
        Self { directory, log }
    }

    /// A file of the size of the owned one, replaced so that it outlives a power cut.
    fn replace(&self) -> Duration {
        let (new, place) = (self.directory.join("new"), self.directory.join("place"));
        let begun = Instant::now();
        let mut file = File::create(&new).expect("a file");
        file.write_all(&[b'#'; 1024]).and_then(|()| file.sync_all()).expect("a file");
        fs::rename(&new, &place).and_then(|()| sync(&self.directory)).expect("a replaced file");
        begun.elapsed()
    }

    /// A page at the end of a log, as the store writes one per transaction at least.
    fn append(&self) -> Duration {
        let begun = Instant::now();
        (&self.log).write_all(&[b'#'; 4096]).and_then(|()| self.log.sync_data()).expect("a log");
        begun.elapsed()
    }
}

fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}
