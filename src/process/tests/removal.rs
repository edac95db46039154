//! Somebody removes the runtime directory under a daemon, and then the daemon is killed.

use std::fs;

use super::{
    adoption::{CHATTY, life},
    kit::{Daemon, Home, LONG, sh, until, within},
};
use crate::process::{Identity, Launcher, Shelf, Wanted};

fn says(who: &Identity) {
    let usr1 = rustix::process::Signal::USR1;
    assert!(crate::sys::pidfd::signal_checked(who.pid, usr1, || true).unwrap());
}

async fn lines(daemon: &Daemon, n: usize) -> Vec<String> {
    let (old, mut new) = daemon.capture.follow(n, &Wanted::default()).await;
    let mut texts: Vec<String> = old.into_iter().map(|line| line.text).collect();
    while texts.len() < n {
        texts.push(within(new.recv()).await.unwrap().text);
    }
    texts.sort();
    texts
}

#[test]
fn what_lies_in_fifos_without_names_is_read_by_this_daemon_and_the_next() {
    let home = Home::new();
    let mut script = sh(CHATTY);
    script.directory = home.path().into();
    let fifos = home.path().join("fifo");
    let who = life(async {
        let daemon = Daemon::new(&home);
        let (tree, _) = daemon.spawn_up(&script).await;
        assert!(!daemon.capture.see_to_names().await);
        fs::remove_dir_all(&fifos).unwrap();
        fs::create_dir(&fifos).unwrap();
        assert!(daemon.capture.see_to_names().await);
        says(tree.identity());
        assert_eq!(lines(&daemon, 3).await, ["later", "problem", "up"]);
        until("it wrote", || home.path().join("seen").exists()).await;
        daemon.capture.flush().await;
        assert!(fifos.join("api@8000.out.spool").exists(), "it is taken where it is found again");
        // What is started from now on is heard, too.
        let other = Daemon { name: "other@1".parse().unwrap(), ..daemon };
        let second = other.spawn(&sh("echo second")).await;
        within(second.exited()).await;
        within(other.capture.settle()).await;
        assert_eq!(lines(&other, 4).await, ["later", "problem", "second", "up"]);
        other.capture.flush().await;
        tree.identity().clone()
    });
    fs::remove_file(home.path().join("seen")).unwrap();
    says(&who);
    life(until("it wrote", || home.path().join("seen").exists()));
    life(async {
        let (launcher, shelf) = (Launcher::new(home.path()).unwrap(), Shelf::default());
        launcher.find_fifos(&home.name, &who, home.path(), &shelf);
        let daemon = Daemon::finding(&home, launcher, &shelf);
        let expected = ["later", "later", "problem", "problem", "second", "up"];
        assert_eq!(lines(&daemon, 6).await, expected);
        let tree = daemon.launcher.adopt(&daemon.name, &who).unwrap().unwrap();
        within(tree.end(LONG)).await.unwrap();
    });
}
