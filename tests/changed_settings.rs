//! What the configuration says differently from what an earlier daemon left is brought about.

use std::fs;

use aibk::api::types::InstanceState;

use crate::support::{LONG, Stage, wait_for};

fn no_problem(stage: &Stage) {
    wait_for("nginx, its file and the settings to agree", LONG, || {
        let nginx = stage.status().nginx.expect("nginx is configured");
        (nginx.edition.is_some() && nginx.problem.is_none()).then_some(())
    });
}

#[test]
fn changed_upstream_settings_are_served_after_the_next_start() {
    let mut stage = Stage::started();
    let load = stage.load();
    let before = stage.status().nginx.unwrap().edition;
    stage.kill_daemon();
    stage.settings.set("services.api.upstream.keepalive", 9);
    stage.start();
    let file = fs::read_to_string(stage.path("run/nginx-aibk.conf")).unwrap();
    assert!(file.contains("keepalive 9;"), "{file}");
    no_problem(&stage);
    assert!(stage.status().nginx.unwrap().edition > before);
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}

#[test]
fn a_renamed_upstream_is_there_before_nginx_is() {
    let mut stage = Stage::started();
    stage.stop_daemon();
    stage.settings.set("services.api.upstream.name", "renamed");
    stage.write_files();
    let site = fs::read_to_string(stage.path("nginx.conf")).unwrap();
    fs::write(stage.path("nginx.conf"), site.replace("api_backend", "renamed")).unwrap();
    stage.restart_daemon();
    assert_eq!(stage.answering(), "v1");
    no_problem(&stage);
}
#[test]
fn a_slot_that_is_configured_no_more_leaves_nginx() {
    let mut stage = Stage::started();
    let load = stage.load();
    stage.kill_daemon();
    let moved = stage.free_port();
    stage.settings.set("services.api.slots", vec![moved]);
    stage.start();
    assert_eq!(stage.serving(), [format!("api@{moved}")]);
    assert_eq!(stage.wait_state(&format!("api@{moved}"), InstanceState::Ready).restarts, 0);
    let file = fs::read_to_string(stage.path("run/nginx-aibk.conf")).unwrap();
    assert!(!file.contains(&format!(":{} ", stage.blue)), "{file}");
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}
