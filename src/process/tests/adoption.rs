use std::time::Duration;

use super::kit::{Daemon, Home, LONG, is_alive, sh, until, within};
use crate::{
    ident::Generation,
    process::{Exit, Identity, Wanted},
};

/// Runs one life of a daemon, with an abrupt end.
pub(super) fn life<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::ZERO);
    result
}

pub(super) const CHATTY: &str = "trap 'echo later; echo problem >&2; : > seen' USR1; \
    echo up; while :; do sleep 1000 & wait $!; done";

#[test]
fn the_next_daemon_takes_over_and_no_line_is_lost() {
    let home = Home::new();
    let mut script = sh(CHATTY);
    script.directory = home.path().into();
    let who = life(async {
        let daemon = Daemon::new(&home);
        daemon.capture.begin(Generation(7).into());
        let (tree, up) = daemon.spawn_up(&script).await;
        assert_eq!(up, "up");
        daemon.capture.flush().await;
        tree.identity().clone()
    });
    // It writes while nobody reads.
    assert!(is_alive(who.pid));
    let usr1 = rustix::process::Signal::USR1;
    assert!(crate::sys::pidfd::signal_checked(who.pid, usr1, || true).unwrap());
    life(until("it wrote", || home.path().join("seen").exists()));
    life(async {
        let daemon = Daemon::new(&home);
        let (old, mut lines) = daemon.capture.follow(10, &Wanted::default()).await;
        assert_eq!(old.iter().map(|l| l.text.as_str()).collect::<Vec<_>>(), ["up"]);
        let mut new = [within(lines.recv()).await.unwrap(), within(lines.recv()).await.unwrap()];
        assert!(old[0].at < new[0].at && new[0].at < new[1].at);
        assert!(new.iter().all(|line| line.generation == Generation(7)));
        new.sort_by(|a, b| a.text.cmp(&b.text));
        assert_eq!(new.each_ref().map(|line| line.text.as_str()), ["later", "problem"]);

        let tree = daemon.launcher.adopt(&daemon.name, &who).unwrap().unwrap();
        assert_eq!(tree.identity(), &who);
        assert!(tree.pids().contains(&who.pid));
        within(tree.end(LONG)).await.unwrap();
        assert_eq!(tree.exited().await, Exit::Signal(9));
        assert!(daemon.launcher.adopt(&daemon.name, &who).unwrap().is_none());
    });
}

/// As after a re-exec: the children are ours still, and one has ended meanwhile.
#[test]
fn how_a_child_ended_meanwhile_is_learned_from_its_zombie() {
    let home = Home::new();
    let who = life(async {
        let daemon = Daemon::new(&home);
        daemon.spawn(&sh("sleep 1000")).await.identity().clone()
    });
    let kill = rustix::process::Signal::KILL;
    assert!(crate::sys::pidfd::signal_checked(who.pid, kill, || true).unwrap());
    life(until("it has ended", || !is_alive(who.pid)));
    life(async {
        let daemon = Daemon::new(&home);
        let tree = daemon.launcher.adopt(&daemon.name, &who).unwrap().unwrap();
        assert_eq!(within(tree.exited()).await, Exit::Signal(9));
        within(tree.end(LONG)).await.unwrap();
        assert!(daemon.launcher.adopt(&daemon.name, &who).unwrap().is_none());
    });
}

#[tokio::test]
async fn a_reused_pid_is_not_adopted() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let tree = daemon.spawn(&sh("sleep 1000")).await;
    let who = tree.identity();
    for other in [
        Identity { start_ticks: who.start_ticks + 1, ..who.clone() },
        Identity { boot_id: "another".into(), ..who.clone() },
        Identity { pid: i32::MAX, ..who.clone() },
        Identity { pid: 0, ..who.clone() },
    ] {
        assert!(daemon.launcher.adopt(&daemon.name, &other).unwrap().is_none());
    }
    within(tree.end(LONG)).await.unwrap();
}

#[tokio::test]
async fn the_exit_of_a_process_that_is_not_our_child_is_told() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let (parent, pid) = daemon.spawn_up(&sh("sleep 1000 & echo $!")).await;
    let (pid, boot_id) = (pid.parse().unwrap(), crate::sys::proc::boot_id().unwrap());
    within(parent.exited()).await;
    let who = Identity::read(&boot_id.into(), pid).unwrap().unwrap();
    let tree = daemon.launcher.adopt(&daemon.name, &who).unwrap().unwrap();
    within(tree.end(LONG)).await.unwrap();
    // Linux before 6.15 does not tell when its parent reaps it before we look.
    let exit = within(tree.exited()).await;
    assert!(matches!(exit, Exit::Signal(9) | Exit::Unknown), "{exit}");
}
