//! nginx refuses, dies, or is not there: the operator reads its words, and clients notice nothing.

use std::{fs, net::TcpListener, os::unix::fs::symlink, path::PathBuf};

use rustix::process::Signal;

use crate::support::{LONG, Output, Stage, kill, load::Plan, wait_for};

fn owned_file(stage: &Stage) -> String {
    fs::read_to_string(stage.path("run/nginx-aibk.conf")).unwrap()
}

/// Puts `text` into the `http` block of nginx.conf; gives back what was there.
fn spoil(stage: &Stage, text: &str) -> String {
    let conf = stage.path("nginx.conf");
    let good = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, good.replacen("http {", &format!("http {{\n{text}\n"), 1)).unwrap();
    good
}

/// A swap fails, with nginx's words, and changes nothing.
#[track_caller]
fn swap_changes_nothing(stage: &Stage, why: &[&str]) -> Output {
    let before = owned_file(stage);
    let load = stage.load_of(Plan::gets(stage.address(), 2));
    let output = stage.ctl(&["swap", "api"]).expect(1);
    output.says(why);
    assert!(output.words().lines().count() <= 24, "more than a screen:\n{output}");
    assert_eq!(owned_file(stage), before, "the previous file is back");
    assert_eq!(stage.serving(), [stage.blue_name()]);
    let report = load.finish(None).unwrap();
    assert_eq!(report.lost, 0, "{report}");
    output
}

#[test]
fn a_syntax_error_is_shown_and_nothing_changes() {
    let stage = Stage::started();
    let good = spoil(&stage, "    nonsense on;");
    swap_changes_nothing(&stage, &["unknown directive \"nonsense\"", "nginx.conf"]);
    stage.ctl(&["nginx", "test"]).expect(1).says(&["unknown directive \"nonsense\""]);
    fs::write(stage.path("nginx.conf"), good).unwrap();
    stage.ctl(&["nginx", "test"]).expect(0);
    stage.ctl(&["swap", "api"]).expect(0);
    assert_eq!(stage.serving(), [stage.green_name()]);
}

#[test]
fn a_refused_bind_is_shown_and_nothing_changes() {
    let mut stage = Stage::new();
    let port = stage.free_port();
    stage.start();
    let squatter = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let server = format!("    server {{ listen 127.0.0.1:{port}; return 204; }}");
    let good = spoil(&stage, &server);
    swap_changes_nothing(&stage, &[&port.to_string(), "Address already in use"]);
    drop(squatter);
    fs::write(stage.path("nginx.conf"), good).unwrap();
    stage.ctl(&["swap", "api"]).expect(0);
    assert_eq!(stage.serving(), [stage.green_name()]);
}

#[test]
fn a_dead_master_is_replaced() {
    let stage = Stage::started();
    let master = || stage.status().nginx.and_then(|nginx| nginx.master.filter(|_| nginx.answers));
    let before = master().expect("nginx runs");
    kill(before, Signal::KILL);
    wait_for("another master", LONG, || master().filter(|now| *now != before));
    assert_eq!(stage.answering(), "v1");
    stage.ctl(&["swap", "api"]).expect(0);
    assert_eq!(stage.serving(), [stage.green_name()]);
}

#[test]
fn a_missing_binary_is_named_and_nothing_changes() {
    let mut stage = Stage::new();
    let binary = stage.path("the-nginx");
    let real = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
    let real = real.into_iter().map(PathBuf::from).find(|path| path.exists()).expect("nginx");
    symlink(&real, &binary).unwrap();
    stage.settings.set("nginx.binary", binary.to_str().unwrap());
    stage.start();
    fs::remove_file(&binary).unwrap();
    swap_changes_nothing(&stage, &["the-nginx"]);
    symlink(&real, &binary).unwrap();
    stage.ctl(&["swap", "api"]).expect(0);
}

#[test]
fn the_owned_file_is_shown() {
    let stage = Stage::started();
    let shown = stage.ctl(&["nginx", "show"]).expect(0);
    shown.says(&["upstream api_backend", &stage.blue.to_string(), "run/nginx-aibk.conf"]);
}

#[test]
fn what_nginx_really_serves_is_shown() {
    let stage = Stage::started();
    let edition = || stage.status().nginx.and_then(|nginx| nginx.edition).expect("nginx answers");
    let before = edition();
    stage.ctl(&["swap", "api"]).expect(0);
    assert!(edition() > before);
    let nginx = stage.status().nginx.unwrap();
    assert!(nginx.answers && nginx.workers >= 1 && nginx.problem.is_none(), "{nginx:?}");
}

/// A host that moves to aibk: its site still has the upstream that is ours now.
#[test]
fn an_upstream_that_the_site_has_already_stops_nobodys_reload() {
    let mut stage = Stage::new();
    stage.settings.set("nginx.mode", "system");
    stage.write_files();
    let clash = "    upstream api_backend { server 127.0.0.1:9; }";
    let good = spoil(&stage, clash).replace("nginx-aibk.conf", "nginx-aibk*.conf");
    let conf = stage.path("nginx.conf");
    fs::write(&conf, good.replacen("http {", &format!("http {{\n{clash}\n"), 1)).unwrap();
    stage.restart_daemon();
    stage.ctl(&["nginx", "test"]).expect(0);
    assert!(!stage.path("run/nginx-aibk.conf").exists());
    stage.ctl(&["events"]).expect(0).says(&["duplicate upstream \"api_backend\""]);
    stage.stop_daemon();

    fs::write(&conf, good).unwrap();
    stage.restart_daemon();
    assert!(owned_file(&stage).contains("upstream api_backend"));
    stage.ctl(&["nginx", "test"]).expect(0);
}
