//! aibkd as the first process of a container.

use std::{io::Write as _, process::Command};

use aibk::api::types::InstanceState;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{LONG, Stage, children_of, kill, run, wait_for};

/// The pid of `pid` in the innermost namespace that it is in: proc(5), Linux 4.1.
fn inner(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
    line.split_whitespace().next_back().unwrap().parse().unwrap()
}

fn command_of(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}

fn zombies_of(pid: i32) -> Vec<i32> {
    let all = procfs::process::all_processes().unwrap().flatten();
    let stats = all.filter_map(|process| process.stat().ok());
    stats.filter(|stat| stat.ppid == pid && stat.state == 'Z').map(|stat| stat.pid).collect()
}

#[test]
fn it_reaps_heeds_signals_and_runs_nginx() {
    if !rustix::process::getuid().is_root() {
        // Not `eprintln!`, which nobody sees when the test succeeds.
        let _ = writeln!(std::io::stderr(), "SKIPPED pid_one::it_reaps_...: it needs root");
        return;
    }
    let mut stage = Stage::new();
    // A daemon of the old kind: nobody but the first process becomes the parent of its child.
    stage.add_command("forks", &["sh", "-c", "(setsid sh -c 'sleep 0.3' &); exec sleep 1000"]);
    stage.write_files();
    stage.launch_by(|aibkd| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        unshare.arg(aibkd.get_program()).args(aibkd.get_args());
        unshare
    });
    stage.wait_ready();
    let [init] = children_of(stage.daemon_pid())[..] else { panic!("one child") };
    assert_eq!(inner(init), 1);

    let nginx = stage.instance("nginx");
    assert_eq!(nginx.state, InstanceState::Ready);
    let masters = stage.processes("nginx: master");
    assert!(children_of(init).contains(&masters[0]), "{masters:?}");
    assert_eq!(inner(masters[0]), nginx.pid.unwrap());
    assert_eq!((stage.serving(), stage.answering()), (vec![stage.blue_name()], "v1".to_owned()));
    let load = stage.load();
    stage.ctl(&["restart", "forks"]).expect(0);
    // What comes in from outside (`docker exec`, nsenter) and leaves a child behind; it is of a
    // session outside, as aibkd itself.
    let enter =
        ["-p", "-m", "-t", &init.to_string(), "sh", "-c", "sleep 0.3 & :"].map(str::to_owned);
    run(Command::new("nsenter").args(enter), LONG).expect(0);
    wait_for("every orphan to be reaped", LONG, || {
        let sleeps = children_of(init).into_iter().filter(|pid| command_of(*pid) == "sleep 0.3 ");
        (sleeps.count() + zombies_of(init).len() == 0).then_some(())
    });

    stage.settings.set("services.forks.env", json!({"TOLD": "later"}));
    stage.write_files();
    kill(init, Signal::HUP);
    wait_for("the reload", LONG, || {
        let told = stage.ctl(&["events"]).expect(0).words();
        told.contains("SIGHUP changed the configuration of forks").then_some(())
    });
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
    kill(init, Signal::TERM);
    assert_eq!(stage.end_of_daemon().code(), Some(0));
    let log = std::fs::read_to_string(stage.path("daemon.log")).unwrap();
    assert!(log.contains("aibkd has stopped everything"), "{log}");
}
