//! What systemd keeps for the next daemon: `FileDescriptorStoreMax=` of systemd.service(5).

use std::{fs, io, thread};

use aibk::api::types::InstanceState;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{LONG, Stage, ends, fetch, kill, wait_for};

/// `PIDFD_INFO_EXIT` came with Linux 6.15.
fn kernel_remembers() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 15)
}

/// Waits for its file, then ends with what is in it.
fn ends_as_told(stage: &mut Stage, name: &str) {
    let script = format!("until [ -e {name} ]; do sleep 0.02; done; exit $(cat {name})");
    stage.add_command(name, &["sh", "-c", &script]);
    stage.settings.set(&format!("services.{name}.restart.policy"), "on-failure");
}

#[test]
fn how_an_instance_ended_while_there_was_no_daemon_is_known() {
    let mut stage = Stage::new();
    ends_as_told(&mut stage, "clean");
    ends_as_told(&mut stage, "broken");
    stage.start();
    let pid = |name: &str| stage.instance(name).pid.unwrap();
    let (clean, broken) = (pid("clean"), pid("broken"));
    for name in ["clean", "broken"] {
        stage.wait_stored(&format!("process-{name}."));
    }
    stage.kill_daemon();
    fs::write(stage.path("clean"), "0").unwrap();
    fs::write(stage.path("broken"), "3").unwrap();
    ends(clean, LONG);
    ends(broken, LONG);
    fs::remove_file(stage.path("broken")).unwrap();
    stage.restart_daemon_with_stored();

    let back = stage.wait_state("broken", InstanceState::Ready);
    assert_ne!(back.pid, Some(broken));
    let told = stage.ctl(&["events", "-n", "200"]).expect(0);
    if kernel_remembers() {
        told.says(&["broken has ended while no aibkd ran"]);
        told.says(&["broken ended with exit status 3", "clean ended with exit status 0"]);
        assert_eq!(stage.instance("clean").state, InstanceState::Finished);
    } else {
        told.says(&["broken ended with unknown exit status"]);
    }
    wait_for("the store to know", LONG, || {
        let of_old = |name: &String| name.contains(&format!(".{broken}."));
        (!stage.stored().iter().any(of_old)).then_some(())
    });
}

#[test]
fn clients_of_a_held_socket_wait_although_daemon_and_workers_are_dead() {
    let mut stage = Stage::new();
    stage.add_admin();
    stage.settings.set("services.admin.socket", "held");
    stage.settings.set("services.admin.restart", json!({"delay": "2s", "limit": 9}));
    stage.start();
    let (port, _) = stage.admin.unwrap();
    let admin = format!("admin@{port}");
    stage.wait_stored(&format!("listener-{admin}."));
    let ask = || thread::spawn(move || fetch(port, "/version").map(|(_, body)| body));
    let answered = |client: thread::JoinHandle<io::Result<String>>| client.join().unwrap().unwrap();

    let pid = stage.wait_state(&admin, InstanceState::Ready).pid.unwrap();
    stage.kill_daemon();
    kill(pid, Signal::KILL);
    ends(pid, LONG);
    let waits = ask();
    stage.restart_daemon_with_stored();
    assert!(answered(waits).contains(r#""version": "v1""#));

    // A successor has it from its predecessor. The first restart comes at once, the next one waits.
    let mut dead = None;
    for _ in 0..2 {
        let seen = stage.wait_instance(&admin, "back", LONG, |seen| {
            seen.state == InstanceState::Ready && seen.pid != dead
        });
        dead = seen.pid;
        kill(dead.unwrap(), Signal::KILL);
    }
    stage.wait_state(&admin, InstanceState::Backoff);
    let waits = ask();
    stage.ctl(&["daemon-reexec"]).expect(0);
    assert!(answered(waits).contains(r#""version": "v1""#));
}
