//! Programs that are run to their end beside an instance.

use std::{fs, time::Duration};

use super::kit::{Daemon, Home, LONG, is_alive, sh, until, within};
use crate::process::{Errand, Exit, Files, Ran, Stream};

async fn run(daemon: &Daemon, script: &str, time: Duration) -> Ran {
    within(daemon.launcher.run(&daemon.name, "ready", &sh(script), time)).await.unwrap()
}

#[tokio::test]
async fn its_status_and_the_beginning_of_what_it_says_are_kept() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let ran = run(&daemon, "echo out; echo err >&2; exit 3", LONG).await;
    assert_eq!(ran, Ran { exit: Some(Exit::Code(3)), said: "out\nerr".to_owned() });
    let flood = run(&daemon, "head -c 10000000 /dev/zero | tr '\\0' x", LONG).await;
    assert_eq!((flood.exit, flood.said.len()), (Some(Exit::Code(0)), 4096));
}

#[tokio::test]
async fn all_that_it_says_is_heard_each_stream_apart() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let (mut out, mut err) = (0, String::new());
    let mut hear = |stream, piece: &[u8]| match stream {
        Stream::Stdout => out += piece.len(),
        Stream::Stderr => err.push_str(std::str::from_utf8(piece).unwrap()),
    };
    let script = sh("head -c 1000000 /dev/zero; echo warning >&2; exit 4");
    let run = daemon.launcher.run_heard(&daemon.name, "build", &script, LONG, &mut hear);
    assert_eq!(within(run).await.unwrap(), Some(Exit::Code(4)));
    assert_eq!((out, err.as_str()), (1_000_000, "warning\n"));
}

#[tokio::test]
async fn it_reads_and_writes_what_the_daemon_has_opened() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    fs::write(&from, "some text").unwrap();
    let (input, output) = (fs::File::open(&from).unwrap(), fs::File::create(&to).unwrap());
    let files = Files { input: Some(input.into()), output: Some(output.into()) };
    let (of, spec) = (&daemon.name, &sh("tr a-z A-Z; echo done >&2"));
    let mut heard = Vec::new();
    let mut hear = |stream, piece: &[u8]| heard.push((stream, piece.to_vec()));
    let errand = Errand { of, name: "dump", spec, within: LONG, files };
    let exit = within(daemon.launcher.run_between(errand, &mut hear)).await.unwrap();
    assert_eq!(exit, Some(Exit::Code(0)));
    assert_eq!(fs::read_to_string(&to).unwrap(), "SOME TEXT");
    assert_eq!(heard, [(Stream::Stderr, b"done\n".to_vec())], "the rest went into the file");
}

/// The news of an end may come before that of the last words.
#[tokio::test]
async fn the_last_words_are_heard_however_soon_it_ends() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    for _ in 0..50 {
        assert_eq!(run(&daemon, "echo out", LONG).await.said, "out");
    }
}

/// Writes the pid of what it leaves behind.
fn leaving(home: &Home, then: &str) -> String {
    format!("setsid sleep 1000 & echo $! > {}/left; {then}", home.path().display())
}

async fn left(home: &Home) -> i32 {
    let file = home.path().join("left");
    let read = || fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse().ok());
    until("a process is left", || read().is_some()).await;
    read().unwrap()
}

#[tokio::test]
async fn nothing_of_it_is_left_however_it_ends() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let ran = run(&daemon, &leaving(&home, "exit 0"), LONG).await;
    assert_eq!(ran.exit, Some(Exit::Code(0)));
    let pid = left(&home).await;
    assert!(!is_alive(pid), "ended in order");

    fs::remove_file(home.path().join("left")).unwrap();
    let ran = run(&daemon, &leaving(&home, "sleep 1000"), Duration::from_millis(300)).await;
    assert_eq!(ran.exit, None, "it took too long");
    let pid = left(&home).await;
    assert!(!is_alive(pid), "ended at its deadline");

    fs::remove_file(home.path().join("left")).unwrap();
    let script = sh(&leaving(&home, "sleep 1000"));
    let forgotten = daemon.launcher.run(&daemon.name, "ready", &script, LONG);
    let pid = tokio::select! {
        _ = forgotten => panic!("it does not end"),
        pid = left(&home) => pid,
    };
    until("whoever waited went away", || !is_alive(pid)).await;
    assert_eq!(run(&daemon, "exit 0", LONG).await.exit, Some(Exit::Code(0)), "and again");
}

#[tokio::test]
async fn it_runs_beside_its_instance() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let tree = daemon.spawn(&sh("exec sleep 1000")).await;
    let ran = run(&daemon, "exit 0", LONG).await;
    assert_eq!(ran.exit, Some(Exit::Code(0)));
    assert!(is_alive(tree.identity().pid));
    within(tree.end(LONG)).await.unwrap();
}
