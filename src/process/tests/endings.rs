use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::io::Errno;

use super::kit::{Daemon, Home, LONG, is_alive, sh, spec, until, within};
use crate::{
    ident::Port,
    process::{Exit, ProcessError, error::Left},
    sys::{
        fake::{Call, Faulty},
        kernel::Linux,
        pidfd::signal_checked,
        proc::command,
    },
};

#[tokio::test]
async fn how_it_ended_is_told_as_often_as_asked() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    for (script, exit, words) in [
        ("exit 3", Exit::Code(3), "exit status 3"),
        ("kill -9 $$", Exit::Signal(9), "killed by signal 9 (SIGKILL)"),
        ("kill -PIPE $$", Exit::Signal(13), "killed by signal 13 (SIGPIPE)"),
    ] {
        let tree = daemon.spawn(&sh(script)).await;
        assert_eq!(within(tree.exited()).await, exit);
        assert_eq!(within(tree.exited()).await, exit);
        assert_eq!(exit.to_string(), words);
        tree.signal(rustix::process::Signal::TERM).unwrap();
    }
}

/// Leaves its parent, its session and its process group, and ignores what it can.
const ESCAPE: &str = "trap '' TERM HUP INT; \
    setsid sh -c 'setsid sleep 1000 & setsid sleep 1001 & echo up; exec sleep 1002' & wait";

#[tokio::test]
async fn a_whole_tree_is_ended_however_it_hides() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let (tree, _) = daemon.spawn_up(&sh(ESCAPE)).await;
    until("four processes", || tree.pids().len() == 4).await;
    let pids = tree.pids();
    tree.signal(rustix::process::Signal::TERM).unwrap();
    assert!(pids.iter().all(|pid| is_alive(*pid)), "SIGTERM is ignored");
    within(tree.end(LONG)).await.unwrap();
    assert!(tree.pids().is_empty());
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    assert_eq!(tree.exited().await, Exit::Signal(9));
}

/// A cgroup that was once killed would kill whoever is born in it (Linux 6.18).
#[tokio::test]
async fn what_was_killed_is_followed_by_what_lives() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    for _ in 0..3 {
        let (killed, _) = daemon.spawn_up(&sh(ESCAPE)).await;
        within(killed.end(LONG)).await.unwrap();
    }
    assert!(daemon.launcher.births_inside());
    // Killed by a daemon that died before it could remove the leaf.
    let leaf = home.base().unwrap().leaf("api@8000").unwrap();
    leaf.kill().unwrap();
    let (next, _) = daemon.spawn_up(&sh("echo up; exec sleep 1000")).await;
    assert!(is_alive(next.identity().pid));
    assert_eq!(next.pids(), [next.identity().pid]);
    assert!(daemon.launcher.births_inside());
    within(next.end(LONG)).await.unwrap();
}

#[tokio::test]
async fn an_empty_tree_is_ended_at_once() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let tree = daemon.spawn(&spec(&["true"])).await;
    within(tree.end(LONG)).await.unwrap();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        tree.end(LONG).await.unwrap();
        best = best.min(start.elapsed());
    }
    assert!(best < Duration::from_millis(1), "{best:?}");
}

#[tokio::test]
async fn workers_that_outlive_their_parent_are_in_the_way_until_swept() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let tree = daemon.spawn(&sh("sleep 1000 & exit 0")).await;
    assert_eq!(within(tree.exited()).await, Exit::Code(0));
    until("it is a sleep", || tree.pids().iter().any(|pid| command(*pid) == "sleep 1000")).await;
    let refused = daemon.refused(&spec(&["true"])).await;
    assert!(refused.contains("api@8000 still has processes of an earlier start: pid"), "{refused}");
    assert!(refused.contains("(sleep 1000)"), "{refused}");
    within(daemon.launcher.sweep(&daemon.name, LONG)).await.unwrap();
    assert!(tree.pids().is_empty());
    within(daemon.spawn(&spec(&["true"])).await.exited()).await;
}

#[test]
fn what_cannot_be_ended_in_time_is_named() {
    let own = i32::try_from(std::process::id()).unwrap();
    let error = ProcessError::NotEnded {
        instance: "api@8000".parse().unwrap(),
        left: Left::of(&[own]),
        after: Duration::from_millis(1500),
    };
    let expected = format!("api@8000 is not ended after 1.5 s: pid {own} (");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn without_cgroups_a_tree_is_its_session_and_its_descendants() {
    let home = Home::new();
    let daemon = Daemon::on(&home, None, Arc::new(Linux));
    let (tree, _) = daemon.spawn_up(&sh(ESCAPE)).await;
    until("four processes", || tree.pids().len() == 4).await;
    let pids = tree.pids();
    within(tree.end(LONG)).await.unwrap();
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    // The next daemon ends what a dead main process left.
    let tree = daemon.spawn(&sh("sleep 1000 & exit 0")).await;
    within(tree.exited()).await;
    let left = tree.pids();
    assert_eq!(left.len(), 1);
    let next = Daemon::on(&home, None, Arc::new(Linux));
    within(next.launcher.sweep(&next.name, LONG)).await.unwrap();
    assert!(!is_alive(left[0]));
}

#[tokio::test]
async fn adopted_orphans_are_reaped() {
    let home = Home::new();
    let daemon = Daemon::on(&home, None, Arc::new(Linux));
    let orphan = daemon.output(&sh("setsid sh -c 'sleep 0.05; exit 1' & echo $!")).await;
    let orphan: i32 = orphan[0].parse().unwrap();
    until("it is reaped", || crate::sys::proc::stat(orphan).unwrap().is_none()).await;
}

#[test]
fn orphans_are_reaped_where_our_session_is_of_another_pid_namespace() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a pid namespace needs root");
        return;
    }
    let again = "process::tests::endings::adopted_orphans_are_reaped";
    let run = std::process::Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", again])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}

const SERVER: &str = "import socket,sys,time
s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(); print(s.getsockname()[1],flush=True)
c=s.accept(); time.sleep(1000)";

#[tokio::test]
async fn whoever_holds_a_port_is_named() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let (tree, port) = daemon.spawn_up(&spec(&["python3", "-c", SERVER])).await;
    let port: Port = port.parse().unwrap();
    let holder = daemon.launcher.port_holder(port).unwrap().unwrap();
    assert_eq!(holder.pid, Some(tree.identity().pid));
    assert!(holder.to_string().contains("(python3 -c import socket"), "{holder}");
    within(tree.end(LONG)).await.unwrap();
    assert_eq!(daemon.launcher.port_holder(port).unwrap(), None);
}

#[tokio::test]
async fn refusals_of_the_kernel_are_errors() {
    let home = Home::new();
    let kernel = Arc::new(Faulty::default());
    let daemon = Daemon::on(&home, home.base(), kernel.clone());
    let tree = daemon.spawn(&spec(&["sleep", "1000"])).await;
    kernel.fail(Call::Signal, Errno::PERM);
    let error = tree.signal(rustix::process::Signal::TERM).unwrap_err().to_string();
    assert!(error.starts_with("cannot send a signal to a process: Operation not permitted"));
    kernel.fail(Call::Listener, Errno::MFILE);
    assert!(daemon.launcher.port_holder(Port::new(1).unwrap()).is_err());
    kernel.fail(Call::Pids, Errno::IO);
    assert!(tree.pids().is_empty());
    within(tree.end(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_signal_goes_only_where_the_check_agrees() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let tree = daemon.spawn(&spec(&["sleep", "1000"])).await;
    let pid = tree.identity().pid;
    assert!(!signal_checked(pid, rustix::process::Signal::TERM, || false).unwrap());
    assert!(is_alive(pid));
    assert!(signal_checked(pid, rustix::process::Signal::TERM, || true).unwrap());
    assert_eq!(within(tree.exited()).await, Exit::Signal(15));
    assert!(!signal_checked(pid, rustix::process::Signal::TERM, || true).unwrap());
}
