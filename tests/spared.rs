//! A newer nginx closes no idle connection under a client at a reload.

use std::{fs, time::Duration};

use crate::support::{LONG, Stage, load::Plan, newer_nginx, run, wait_for};

fn owned_file(stage: &Stage) -> String {
    fs::read_to_string(stage.path("run/nginx-aibk.conf")).unwrap_or_default()
}

#[test]
fn swaps_by_reload_lose_nothing_at_all() {
    let mut stage = Stage::new();
    stage.settings.set("nginx.binary", newer_nginx().to_str().unwrap());
    stage.settings.set("services.api.rollout.watch", "0s");
    stage.start();
    assert!(owned_file(&stage).contains("\nkeepalive_min_timeout 2s;\n"));
    run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
    // Clients that connect long before they ask are among them.
    let silence = Duration::from_millis(700);
    let load = stage.load_of(Plan { silent: 8, silence, ..Plan::mixed(stage.address()) });
    for _ in 0..20 {
        let answered = load.progress().answered;
        run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
        wait_for("answers", LONG, || (load.progress().answered > answered + 100).then_some(()));
    }
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!((report.lost, report.reuse_races), (0, 0), "{report}");

    // A site that says it itself is heeded.
    let conf = stage.path("nginx.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text.replace("http {", "http { keepalive_min_timeout 3s;")).unwrap();
    run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
    assert!(!owned_file(&stage).contains("keepalive_min_timeout"));
    stage.kill_daemon();
    stage.restart_daemon();
    run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
}
