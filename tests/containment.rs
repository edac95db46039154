//! What services may use and do, and what is told when the kernel does not give it.

use aibk::api::types::InstanceState;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::support::{LONG, Stage, kill, load::Plan, wait_for};

/// More files than any kernel lets a process open.
const TOO_MANY: u64 = 1 << 40;

#[test]
fn what_the_kernel_refuses_is_an_error_or_is_told() {
    let mut stage = Stage::new();
    for name in ["strict", "lenient"] {
        stage.add_command(name, &["sleep", "100000"]);
        stage.settings.set(&format!("services.{name}.limits.nofile"), TOO_MANY);
        stage.settings.set(&format!("services.{name}.limits.core"), 0);
    }
    stage.settings.set("services.lenient.on_refusal", "warn");
    stage.settings.set("services.strict.restart.limit", 1);
    stage.start();

    let strict = stage.wait_state("strict", InstanceState::Failed).detail.unwrap();
    assert!(strict.contains("limits.nofile 1099511627776 (Operation not permitted"), "{strict}");
    assert!(strict.contains("on_refusal: warn"), "{strict}");

    let told = |stage: &Stage| {
        let lenient = stage.instance("lenient");
        assert_eq!(lenient.state, InstanceState::Ready);
        assert_eq!(lenient.confined.enforced, ["limits.core 0"]);
        assert_eq!(lenient.confined.refused[0].asked, "limits.nofile 1099511627776");
        stage.ctl(&["status"]).expect(0).says(&["runs without limits.nofile"]);
        lenient.pid
    };
    let before = told(&stage);
    stage.ctl(&["events"]).expect(0).says(&["instance.refused", "lenient runs without"]);

    // The next daemon knows it of what it takes over.
    stage.kill_daemon();
    stage.restart_daemon();
    assert_eq!(told(&stage), before);
}

#[test]
fn an_application_is_confined_as_its_service_says() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.umask", "0077");
    stage.settings.set("services.api.limits.nofile", "512:1024");
    stage.settings.set("services.api.sandbox.capabilities", "none");
    stage.settings.set("services.api.on_refusal", "warn");
    stage.settings.set("services.api.workers", 2);
    stage.start();
    let pid = stage.instance(&stage.blue_name()).pid.unwrap();
    for pid in [pid].into_iter().chain(crate::support::children_of(pid)) {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let status = read("status");
        for line in ["Umask:\t0077", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{line} is missing: {status}");
        }
        let limits = read("limits");
        let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let numbers: Vec<_> = files.split_whitespace().skip(3).take(2).collect();
        assert_eq!(numbers, ["512", "1024"]);
    }
    assert_eq!(stage.answering(), "v1");
}

/// Grows by the megabyte while the file `grow` is there.
const GROWS: &str = "import os, sys, time
print('begun', flush=True)
held = []
while True:
    if os.path.exists(sys.argv[1]):
        held.append(bytearray(4 << 20))
    time.sleep(0.02)";

#[test]
fn what_uses_too_much_memory_is_started_again_with_that_reason() {
    let mut stage = Stage::new();
    let (script, grow) = (stage.path("grows.py"), stage.path("grow"));
    std::fs::write(&script, GROWS).unwrap();
    let argv = ["python3", script.to_str().unwrap(), grow.to_str().unwrap()];
    stage.add_command("worker", &argv);
    stage.settings.set("services.worker.limits.memory", "96MiB");
    stage.settings.set("services.worker.limits.sample", "200ms");
    stage.start();
    let before = stage.wait_state("worker", InstanceState::Ready);
    assert_eq!(before.restarts, 0);
    assert!(before.confined.enforced[0].starts_with("limits.memory 96MiB"), "{before:?}");
    std::fs::write(&grow, "").unwrap();
    stage.wait_instance("worker", "started again", LONG, |seen| seen.restarts == 1);
    std::fs::remove_file(&grow).unwrap();
    let after = stage.wait_state("worker", InstanceState::Ready);
    assert_ne!(after.pid, before.pid);
    let events = stage.ctl(&["events"]).expect(0);
    events.says(&["worker", "memory", "limit of 96MiB"]);
}

/// Forks for ever, and again wherever that fails.
const BOMB: &str =
    r"import os, time; exec('while True:\n try: os.fork()\n except OSError: time.sleep(0.05)')";

#[test]
fn a_fork_bomb_is_held_by_its_limit_and_ended_whole() {
    const MOST: usize = 40;
    let mut stage = Stage::new();
    stage.add_command("bomb", &["python3", "-c", BOMB]);
    // The limit counts all processes of a user, and does not bind root.
    stage.settings.set("services.bomb.user", "games").set("services.bomb.directory", "/tmp");
    stage.settings.set("services.bomb.limits.nproc", MOST);
    stage.start();
    wait_for("the bomb to go off", LONG, || {
        let forks = stage.processes("time.sleep(0.05)").len();
        assert!(forks <= MOST, "{forks} processes");
        (forks > MOST / 2).then_some(())
    });
    let load = stage.load_of(Plan::gets(stage.address(), 2));
    stage.ctl(&["swap", "api"]).expect(0);
    assert_eq!(stage.wait_state("bomb", InstanceState::Ready).restarts, 0);
    stage.ctl(&["stop", "bomb"]).expect(0);
    assert_eq!(stage.processes("time.sleep(0.05)"), Vec::<i32>::new());
    let report = load.finish(None).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}

#[test]
fn a_daemon_without_descriptors_says_so_and_goes_on_when_it_has_some() {
    let mut stage = Stage::new();
    stage.add_command("worker", &["sleep", "100000"]);
    stage.settings.set("services.worker.restart.limit", 1000);
    stage.start();
    let before = stage.wait_state("worker", InstanceState::Ready);
    let api = stage.instance(&stage.blue_name()).pid;

    let daemon = Pid::from_raw(stage.daemon_pid());
    // What is open stays open, but nothing else is opened.
    let none = Rlimit { current: Some(3), maximum: getrlimit(Resource::Nofile).maximum };
    let usual = prlimit(daemon, Resource::Nofile, none).unwrap();
    kill(before.pid.unwrap(), Signal::KILL);
    wait_for("the daemon to tell", LONG, || {
        let log = std::fs::read_to_string(stage.path("daemon.log")).unwrap();
        log.contains("Too many open files").then_some(())
    });
    assert_eq!(stage.answering(), "v1");
    assert!(stage.daemon_goes_on());

    prlimit(daemon, Resource::Nofile, usual).unwrap();
    stage.wait_instance("worker", "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != before.pid
    });
    assert_eq!(stage.instance(&stage.blue_name()).pid, api);
}
