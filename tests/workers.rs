//! Held sockets and workers by aibkd: nobody is refused, and each worker is seen.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use aibk::api::types::{InstanceState, InstanceStatus};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    LONG, Stage, fetch, is_alive, kill, listener_on,
    load::{Load, Plan},
    wait_for,
};

/// Clients that connect afresh to one port, one request each, and count what is refused.
struct Knocking {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Knocking {
    fn at(port: u16) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = || {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut lost = vec![];
                while !stop.load(Ordering::Relaxed) {
                    match knock(port) {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(e) => lost.push(e),
                    }
                }
                lost
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Self { stop, answered, clients }
    }

    /// Waits for some more answers.
    fn wait_for_more(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_for("more answers", LONG, || {
            (self.answered.load(Ordering::Relaxed) > before + 20).then_some(())
        });
    }

    /// What went wrong.
    fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn knock(port: u16) -> Result<(), String> {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|e| match e.kind() {
            ErrorKind::ConnectionRefused => "refused".to_owned(),
            _ => format!("connect: {e}"),
        })?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).map_err(|e| format!("write: {e}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| format!("read: {e}"))?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("answer: {answer:?}")) }
}

fn held(stage: &mut Stage, workers: u16) -> String {
    stage.add_admin();
    stage.settings.set("services.admin.socket", "held");
    stage.settings.set("services.admin.workers", json!({"count": workers, "by": "aibkd"}));
    format!("admin@{}", stage.admin.unwrap().0)
}

fn all_ready(seen: &InstanceStatus) -> bool {
    seen.state == InstanceState::Ready
        && seen.workers.iter().all(|worker| worker.state == InstanceState::Ready)
}

fn pids(seen: &InstanceStatus) -> Vec<i32> {
    seen.workers.iter().filter_map(|worker| worker.pid).collect()
}

#[test]
fn nobody_is_refused_while_a_held_instance_comes_back() {
    let mut stage = Stage::new();
    let admin = held(&mut stage, 1);
    stage.start();
    let (port, _) = stage.admin.unwrap();
    let knocking = Knocking::at(port);
    for _ in 0..3 {
        knocking.wait_for_more();
        let before = stage.wait_instance(&admin, "ready", LONG, all_ready);
        kill(before.pid.unwrap(), Signal::KILL);
        stage.wait_instance(&admin, "back", LONG, |seen| {
            all_ready(seen) && seen.pid != before.pid && seen.restarts > before.restarts
        });
    }
    knocking.wait_for_more();
    let lost = knocking.finish();
    // What it had accepted died with it; nothing else did.
    assert!(lost.iter().all(|why| why != "refused"), "{lost:?}");
    assert!(lost.len() <= 3 * 4, "{lost:?}");

    stage.ctl(&["stop", &admin, "--force"]).expect(0);
    assert_eq!(listener_on(port), None);
    stage.ctl(&["start", &admin]).expect(0);
    knock(port).unwrap();
}

#[test]
fn each_worker_is_seen_and_restarted_alone() {
    let mut stage = Stage::new();
    let admin = held(&mut stage, 2);
    stage.start();
    let before = stage.wait_instance(&admin, "ready", LONG, all_ready);
    let [one, other] = pids(&before)[..] else { panic!("{before:?}") };
    stage.ctl(&["status"]).expect(0).says(&["workers 2/2", "a1 ready", "a2 ready"]);

    kill(other, Signal::KILL);
    let after = stage.wait_instance(&admin, "whole again", LONG, |seen| {
        all_ready(seen) && seen.workers.len() == 2 && seen.workers[1].pid != Some(other)
    });
    assert_eq!((after.workers[0].pid, after.workers[0].restarts), (Some(one), 0));
    assert_eq!((after.workers[1].restarts, after.restarts), (1, 1));
    stage.ctl(&["events"]).expect(0).says(&[&format!("{admin}.a2 was killed by signal 9")]);
    stage.ctl(&["logs", &admin]).expect(0).says(&["importing v1 in mode ok"]);
}

#[test]
fn workers_of_a_broken_application_are_given_up() {
    let mut stage = Stage::new();
    let admin = held(&mut stage, 2);
    stage.settings.set("services.admin.app", "nowhere:app");
    stage.start();
    let failed = stage.wait_state(&admin, InstanceState::Failed);
    assert!(failed.detail.unwrap().contains("nowhere"));
    let (port, public) = stage.admin.unwrap();
    wait_for("the port to refuse", LONG, || (knock(port).unwrap_err() == "refused").then_some(()));
    assert_eq!(fetch(public, "/").unwrap().0, 502);
}

#[test]
fn the_next_daemon_takes_the_sockets_over() {
    let mut stage = Stage::new();
    let admin = held(&mut stage, 2);
    stage.start();
    let before = stage.wait_instance(&admin, "ready", LONG, all_ready);
    let (port, _) = stage.admin.unwrap();
    let knocking = Knocking::at(port);
    knocking.wait_for_more();
    stage.kill_daemon();
    knocking.wait_for_more();
    stage.restart_daemon();
    let after = stage.wait_instance(&admin, "ready", LONG, all_ready);
    assert_eq!(pids(&after), pids(&before));
    knocking.wait_for_more();
    // It holds the socket: what waits is there for whoever comes next.
    for pid in pids(&after) {
        kill(pid, Signal::KILL);
    }
    stage.wait_instance(&admin, "back", LONG, |seen| {
        all_ready(seen) && pids(seen).iter().all(|pid| !pids(&before).contains(pid))
    });
    knocking.wait_for_more();
    let lost = knocking.finish();
    assert!(lost.iter().all(|why| why != "refused"), "{lost:?}");
    assert!(lost.len() <= 4, "{lost:?}");
    assert!(pids(&before).into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn a_slot_changes_hands_with_the_daemon() {
    let mut stage = Stage::new();
    let admin = held(&mut stage, 2);
    let held = stage.settings.get("services.admin").clone();
    stage.settings.remove("services.admin.socket").remove("services.admin.workers");
    stage.start();
    let own = stage.wait_state(&admin, InstanceState::Ready).pid.unwrap();
    stage.kill_daemon();
    stage.settings.set("services.admin", held);
    stage.start();
    let new = stage.wait_instance(&admin, "ready", LONG, all_ready);
    assert!(!is_alive(own) && pids(&new).len() == 2, "{new:?}");
    stage.kill_daemon();
    stage.settings.remove("services.admin.socket").remove("services.admin.workers");
    stage.write_files();
    // Among what systemd kept is the socket, which is in the way now.
    stage.restart_daemon_with_stored();
    stage.wait_state(&admin, InstanceState::Ready);
    assert!(pids(&new).into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn with_nobody_left_it_refuses_only_while_the_other_slot_stands_in() {
    let mut stage = Stage::new();
    stage
        .settings
        .set("services.api.socket", "held")
        .set("services.api.workers", json!({"count": 1, "by": "aibkd"}));
    stage.settings.set("services.api.rollout.standby", "hot");
    stage.start();
    let (blue, green) = (stage.blue_name(), stage.green_name());
    stage.wait_state(&green, InstanceState::Ready);
    // What is started from now on takes its time before it listens.
    stage.releases.write("v1", "slow-start");
    let before = stage.instance(&blue);
    let end = |seen: &InstanceStatus| {
        for pid in pids(seen) {
            kill(pid, Signal::KILL);
        }
        stage.wait_instance(&blue, "on its way", LONG, |now| {
            now.state == InstanceState::Starting && now.generation > seen.generation
        });
    };
    end(&before);
    assert_eq!(knock(stage.blue).unwrap_err(), "refused");
    let (status, body) = fetch(stage.public, "/env?name=AIBK_INSTANCE").unwrap();
    assert_eq!((status, body.contains(&green)), (200, true), "{body}");
    assert_eq!(stage.instance(&blue).state, InstanceState::Starting, "nobody waited for it");
    let back = stage.wait_instance(&blue, "back", LONG, all_ready);
    knock(stage.blue).unwrap();

    // The daemon itself may still be giving its traffic back.
    stage.ctl(&["stop", "--wait", &green]).expect(0);
    end(&back);
    // It waits, and is answered.
    knock(stage.blue).unwrap();
    assert_eq!(fetch(stage.public, "/env?name=AIBK_INSTANCE").unwrap().0, 200);
}

/// One slot, under load through nginx and of clients that go to it directly.
fn renewed_under_load(workers: u16, act: impl Fn(&mut Stage, &str)) {
    let mut stage = Stage::new();
    let admin = held(&mut stage, workers);
    stage.settings.set("services.admin.rollout.watch", "500ms");
    stage.settings.set("services.admin.drain.deadline", "10s");
    stage.settings.set("services.admin.stop.deadline", "20s");
    stage.start();
    let before = stage.wait_instance(&admin, "ready", LONG, all_ready);
    let (port, public) = stage.admin.unwrap();
    let to = (Ipv4Addr::LOCALHOST, public).into();
    let load = Load::start(Plan { websockets: 0, ..Plan::mixed(to) }).unwrap();
    let knocking = Knocking::at(port);
    knocking.wait_for_more();
    act(&mut stage, &admin);
    knocking.wait_for_more();
    let after = stage.wait_instance(&admin, "ready", LONG, all_ready);
    assert_eq!(after.workers.len(), usize::from(workers));
    assert!(pids(&before).into_iter().all(|pid| !is_alive(pid)), "{after:?}");
    assert_eq!(knocking.finish(), [""; 0]);
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}

#[test]
fn one_slot_restarts_and_nobody_notices() {
    renewed_under_load(1, |stage, admin| drop(stage.ctl(&["restart", admin]).expect(0)));
}

#[test]
fn one_slot_rolls_and_nobody_notices() {
    renewed_under_load(2, |stage, _| {
        stage.releases.write("v2", "ok");
        stage.releases.set_current("v2");
        stage.ctl(&["rolling", "admin"]).expect(0);
        let (port, _) = stage.admin.unwrap();
        assert!(fetch(port, "/version").unwrap().1.contains("v2"));
    });
}

#[test]
fn one_slot_gets_another_definition_and_nobody_notices() {
    renewed_under_load(2, |stage, admin| {
        stage.settings.set("services.admin.env.TOLD", "later");
        stage.write_files();
        stage.ctl(&["reload"]).expect(0).says(&["admin is being replaced: env"]);
        let (port, _) = stage.admin.unwrap();
        assert!(fetch(port, "/env?name=TOLD").unwrap().1.contains("later"));
        let steps: Vec<_> = stage.rollouts()[0].steps.iter().map(|s| s.name.clone()).collect();
        assert!(steps.contains(&"replace".to_owned()), "{admin}: {steps:?}");
    });
}

#[test]
fn a_new_release_that_fails_beside_the_old_one_changes_nothing() {
    for mode in ["exit", "health-500"] {
        let mut stage = Stage::new();
        let admin = held(&mut stage, 2);
        stage.settings.set("services.admin.ready.deadline", "4s");
        stage.start();
        let before = stage.wait_instance(&admin, "ready", LONG, all_ready);
        let knocking = Knocking::at(stage.admin.unwrap().0);
        stage.releases.write("v2", mode);
        stage.releases.set_current("v2");
        stage.ctl(&["rolling", "admin"]).expect(1);
        knocking.wait_for_more();
        let after = stage.wait_instance(&admin, "ready", LONG, all_ready);
        assert_eq!((pids(&after), after.workers.len()), (pids(&before), 2), "{mode}");
        assert_eq!(knocking.finish(), [""; 0], "{mode}");
    }
}
