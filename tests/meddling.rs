//! Others meddle, also during a rollout: each time it is noticed, told and answered, and clients see
//! nothing of it.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, id},
};

use aibk::api::types::{InstanceState, RolloutState};
use rustix::process::Signal;

use crate::support::{LONG, Running, Stage, children_of, ends, kill, load::Plan, wait_for};

fn owned_file(stage: &Stage) -> String {
    fs::read_to_string(stage.path("run/nginx-aibk.conf")).unwrap_or_default()
}

fn master(stage: &Stage) -> i32 {
    stage.status().nginx.and_then(|nginx| nginx.master).expect("nginx runs")
}

/// Waits until the file, nginx and aibkd agree.
#[track_caller]
fn agrees(stage: &Stage) {
    wait_for("agreement", LONG, || {
        let nginx = stage.status().nginx.unwrap();
        (nginx.answers && nginx.problem.is_none()).then_some(())
    });
}

#[track_caller]
fn told(stage: &Stage, words: &[&str]) {
    wait_for(&format!("{words:?} to be told"), LONG, || {
        let events = stage.ctl(&["events", "-n", "1000"]).stdout;
        let said = events.split_whitespace().collect::<Vec<_>>().join(" ");
        words.iter().all(|word| said.contains(word)).then_some(())
    });
}

/// Somebody edits the file by hand, and it is put back.
#[track_caller]
fn edit(stage: &Stage) {
    let (before, text) = (stage.edition(), owned_file(stage));
    let edited = text.replace(&format!(":{} ", stage.blue), ":9 ");
    let edited = edited.replace(&format!(":{} ", stage.green), ":9 ");
    assert_ne!(edited, text);
    fs::write(stage.path("run/nginx-aibk.conf"), &edited).unwrap();
    wait_for("the edit to be undone", LONG, || {
        (!owned_file(stage).contains(":9 ") && stage.edition() > before).then_some(())
    });
}

/// Somebody removes it, and it is put back; nginx need not know.
#[track_caller]
fn remove(stage: &Stage) {
    fs::remove_file(stage.path("run/nginx-aibk.conf")).unwrap();
    wait_for("the file", LONG, || owned_file(stage).contains("upstream api_backend").then_some(()));
}

/// As logrotate does, and as certbot does.
fn rotate_and_reload(stage: &Stage) {
    let log = stage.path("nginx-error.log");
    fs::rename(&log, stage.path("nginx-error.log.1")).unwrap();
    kill(master(stage), Signal::USR1);
    wait_for("another log", LONG, || log.exists().then_some(()));
    let (master, before) = (master(stage), children_of(master(stage)));
    kill(master, Signal::HUP);
    wait_for("other workers", LONG, || {
        children_of(master).iter().any(|worker| !before.contains(worker)).then_some(())
    });
}

#[test]
fn the_file_is_edited_and_removed_and_nginx_reloaded_by_others() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.rollout.watch", "2s");
    stage.start();
    let load = stage.load_of(Plan::gets(stage.address(), 2));
    edit(&stage);
    let workers = children_of(master(&stage));
    remove(&stage);
    agrees(&stage);
    // Those from before the edit may still be on their way out.
    let new = children_of(master(&stage)).into_iter().find(|worker| !workers.contains(worker));
    assert_eq!(new, None, "nginx was reloaded for that");
    told(&stage, &["edited by hand, and is as aibk writes it", "removed, and is there again"]);
    let strange = "# somebody else's\n";
    let ours = owned_file(&stage);
    fs::write(stage.path("run/nginx-aibk.conf"), strange).unwrap();
    told(&stage, &["was not written by aibk and is left alone"]);
    assert_eq!(owned_file(&stage), strange);
    fs::write(stage.path("run/nginx-aibk.conf"), ours).unwrap();
    agrees(&stage);

    // During a rollout, all of it again.
    let swap = stage.ctl_begun(&["swap", "api"]);
    for step in ["await-ready", "watch"] {
        stage.wait_step(step);
        rotate_and_reload(&stage);
    }
    edit(&stage);
    remove(&stage);
    swap.end(LONG).expect(0);
    agrees(&stage);
    assert_eq!(stage.serving(), [stage.green_name()]);
    let report = load.finish(None).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}

#[test]
fn the_spare_port_is_taken_and_an_instance_is_killed_by_hand() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.rollout.watch", "3s");
    stage.start();
    let squatter = TcpListener::bind(("127.0.0.1", stage.green)).unwrap();
    let refused = stage.ctl(&["swap", "api"]).expect(4);
    refused.says(&[&format!("port {} is held by pid {}", stage.green, id())]);
    assert_eq!(stage.serving(), [stage.blue_name()]);
    drop(squatter);

    // What comes in is killed while it is watched: back. What goes out is: on.
    let kill_in_watch = |name: &str| {
        let swap = stage.ctl_begun(&["swap", "api"]);
        stage.wait_step("watch");
        kill(stage.instance(name).pid.unwrap(), Signal::TERM);
        swap.end(LONG)
    };
    kill_in_watch(&stage.green_name()).expect(1).says(&["while watched"]);
    assert_eq!(stage.serving(), [stage.blue_name()]);
    let before = stage.instance(&stage.blue_name()).pid;
    kill_in_watch(&stage.blue_name()).expect(0);
    assert_eq!(stage.serving(), [stage.green_name()]);
    stage.wait_instance(&stage.blue_name(), "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != before
    });
    assert_eq!(stage.answering(), "v1");
}

/// In the background, as a host does: only so it can be replaced.
fn start_nginx(dir: &Path) {
    // It starts its successor by the path by which it was started.
    let places = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
    let path = places.into_iter().find(|path| Path::new(path).exists()).expect("nginx");
    let mut nginx = Command::new(path);
    nginx.arg("-c").arg(dir.join("nginx.conf")).arg("-p").arg(dir);
    let status = Running::start_logged(&mut nginx, &dir.join("nginx.out")).status(LONG);
    assert!(status.success(), "nginx: {status}");
}

/// Starts the program anew in place of the running one; gives both masters.
fn upgrade(stage: &Stage) -> (i32, i32) {
    let old = master(stage);
    kill(old, Signal::USR2);
    let new = wait_for("another master", LONG, || {
        let text = fs::read_to_string(stage.path("nginx.pid")).ok()?;
        text.trim().parse().ok().filter(|pid| *pid != old)
    });
    wait_for("its workers", LONG, || (children_of(new).len() == 2).then_some(()));
    (old, new)
}

#[test]
fn nginx_is_replaced_and_started_again_under_us() {
    let mut stage = Stage::new();
    stage.settings.set("nginx.mode", "system");
    stage.settings.set("services.api.rollout.watch", "2s");
    stage.write_files();
    stage.launch();
    wait_for("the file", LONG, || (!owned_file(&stage).is_empty()).then_some(()));
    start_nginx(stage.dir());
    stage.wait_ready();
    agrees(&stage);
    let load = stage.load_of(Plan::gets(stage.address(), 2));

    // A swap waits until the old one is gone; while both serve, that is told.
    let (old, new) = upgrade(&stage);
    let problem = stage.status().nginx.unwrap().problem.unwrap();
    assert!(problem.contains(&format!("kill -QUIT {old}")), "{problem}");
    let swap = stage.ctl_begun(&["swap", "api"]);
    stage.wait_step("publish");
    kill(old, Signal::QUIT);
    swap.end(LONG).expect(0);
    assert_eq!((master(&stage), stage.serving()), (new, vec![stage.green_name()]));
    agrees(&stage);

    // In the middle of a rollout.
    let swap = stage.ctl_begun(&["swap", "api"]);
    stage.wait_step("watch");
    let (old, _) = upgrade(&stage);
    kill(old, Signal::QUIT);
    swap.end(LONG).expect(0);
    assert_eq!(stage.serving(), [stage.blue_name()]);
    let report = load.finish(None).unwrap();
    assert_eq!(report.lost, 0, "{report}");

    // Stopped and started by hand, which its clients do see: it serves what was published last.
    let swap = stage.ctl_begun(&["swap", "api"]);
    stage.wait_step("watch");
    let old = master(&stage);
    kill(old, Signal::TERM);
    ends(old, LONG);
    start_nginx(stage.dir());
    let end = swap.end(LONG);
    agrees(&stage);
    let serving = if end.status == Some(0) { stage.green_name() } else { stage.blue_name() };
    assert_eq!(stage.serving(), [serving], "{end}");
    assert!(stage.rollouts().iter().all(|rollout| rollout.state != RolloutState::Stuck));
    let last = master(&stage);
    kill(last, Signal::QUIT);
    ends(last, LONG);
}
