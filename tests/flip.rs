//! Switching without a reload, under load: nothing is lost, and nobody sees a connection closed.

use std::{fs, time::Duration};

use aibk::api::types::InstanceState;
use rustix::process::Signal;

use crate::support::{
    LONG, Stage, kill,
    load::{Kind, Load, Plan, Report},
    run, wait_for,
};

/// How many switches of each way; a hundred with `AIBK_SWITCHES=100`.
fn switches() -> u64 {
    let asked = std::env::var("AIBK_SWITCHES").ok().and_then(|many| many.parse().ok());
    asked.unwrap_or(20)
}

/// Both slots are warm, and what is published is not watched.
fn warm(switch: &str) -> Stage {
    let mut stage = Stage::new();
    stage.settings.set("services.api.rollout.watch", "0s");
    stage.settings.set("services.api.upstream.switch", switch);
    stage.start();
    run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
    stage
}

/// Every kind of request, and clients that connect long before they ask.
fn load(stage: &Stage) -> Load {
    let silence = Duration::from_millis(700);
    stage.load_of(Plan { silent: 8, silence, ..Plan::mixed(stage.address()) })
}

fn swap(stage: &Stage, load: &Load, times: u64) {
    let mut before = stage.serving();
    for _ in 0..times {
        run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
        let after = stage.serving();
        assert_ne!(after, before);
        before = after;
        let answered = load.progress().answered;
        wait_for("answers", LONG, || (load.progress().answered > answered + 50).then_some(()));
    }
}

/// What nginx has to say about upstreams since `from`: nothing.
#[track_caller]
fn no_complaints(stage: &Stage, from: usize) {
    let log = fs::read_to_string(stage.path("nginx-error.log")).unwrap();
    let complaints: Vec<&str> = log[from..].lines().filter(|l| l.contains("upstream")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[track_caller]
fn nothing_at_all_lost(stage: &Stage, load: Load) -> Report {
    let report = load.finish(Some(&stage.executed())).unwrap();
    println!("{report}");
    assert_eq!((report.lost, report.reuse_races), (0, 0), "{report}");
    assert!(report.orders.once > 0 && report.orders.once == report.orders.acknowledged);
    report
}

/// Somebody turns the flag, and then removes it: each time it says again what it said.
#[track_caller]
fn turned_by_hand(stage: &Stage) {
    let (before, flag) = (stage.serving(), |colour| stage.path(&format!("run/aibk-api.{colour}")));
    let is = |colour| fs::exists(flag(colour)).unwrap();
    let (own, other) = if is("blue") { ("blue", "green") } else { ("green", "blue") };
    let put_right = || (is(own) && !is(other) && stage.serving() == before).then_some(());
    fs::rename(flag(own), flag(other)).unwrap();
    wait_for("the flag to be turned back", LONG, put_right);
    fs::remove_file(flag(own)).unwrap();
    wait_for("the flag to be there again", LONG, put_right);
    wait_for("it to be told", LONG, || {
        let events = stage.ctl(&["events", "-n", "100"]).stdout;
        let told = ["flag of api was turned by hand", "flag of api was removed"];
        told.iter().all(|told| events.contains(told)).then_some(())
    });
}

#[test]
fn flips_lose_nothing_and_close_no_connection() {
    let stage = warm("flip");
    let (edition, workers) = (stage.edition(), stage.processes("nginx: worker"));
    let log = fs::metadata(stage.path("nginx-error.log")).unwrap().len();
    let load = load(&stage);
    swap(&stage, &load, switches());
    turned_by_hand(&stage);
    let report = nothing_at_all_lost(&stage, load);
    for kind in [Kind::Get, Kind::Post, Kind::Slow, Kind::Stream, Kind::WebSocket, Kind::Silent] {
        assert!(report.sent_of(kind) > 0, "no {kind}: {report}");
    }
    assert_eq!(report.websocket_closes.len(), 0, "{report}");
    no_complaints(&stage, usize::try_from(log).unwrap());
    assert_eq!(stage.edition(), edition, "nothing was reloaded");
    assert_eq!(stage.processes("nginx: worker"), workers);
}

/// What a reload itself costs is counted apart, and is no more than bare reloads cost.
#[test]
#[ignore = "the same, with fewer, is tried by the scenario of ten swaps and five rolling updates"]
fn swaps_by_reload_lose_nothing_that_a_bare_reload_would_not() {
    let stage = warm("reload");
    let before = stage.edition();
    let load = load(&stage);
    swap(&stage, &load, switches());
    stage.loses_nothing_since(before, load);
}

#[test]
fn a_service_that_flips_is_rolled_and_loses_nothing() {
    let stage = warm("flip");
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    let load = stage.load_of(Plan { websockets: 0, slow: 0, ..Plan::mixed(stage.address()) });
    run(&mut stage.aibkctl(&["rolling", "api"]), LONG).expect(0);
    assert_eq!((stage.answering(), stage.serving().len()), ("v2".to_owned(), 1));
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
}

#[test]
fn the_site_is_told_its_lines_and_looked_at() {
    let mut stage = Stage::new();
    stage.flips();
    stage.start();
    let file = stage.path("aibk.yaml");
    let file = file.to_str().unwrap();
    let lines = ["set $aibk_api blue;", "run/aibk-api.green) {", "http://api_backend_$aibk_api;"];
    stage.ctl(&["nginx", "snippet", "api"]).expect(0).says(&lines);
    stage.ctl(&["nginx", "snippet", "api", "--config", file]).expect(0).says(&lines);
    stage.ctl(&["nginx", "snippet", "admin"]).expect(4).says(&["admin", "behind nginx"]);
    let checked = stage.ctl(&["config", "check", file]).expect(0);
    assert!(!checked.stdout.contains("snippet"), "{checked}");

    let conf = stage.path("nginx.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text.replace("aibk-api.green", "other.green")).unwrap();
    let checked = stage.ctl(&["config", "check", file]).expect(0);
    checked.says(&["warning: services.api.upstream", "asks for the flag", "nginx snippet api"]);
    stage.ctl(&["swap", "api"]).expect(1).says(&["aibkctl nginx snippet api"]);
    assert_eq!(stage.serving(), [stage.blue_name()]);
    fs::write(&conf, format!("nonsense;\n{text}")).unwrap();
    stage.ctl(&["config", "check", file]).expect(0).says(&["it was not looked", "nonsense"]);
}

/// In the middle of a rolling update, while both slots serve and no flag says anything.
#[test]
fn who_dies_in_a_rolling_update_loses_what_it_had_in_hand_alone() {
    let mut stage = Stage::new();
    stage.flips().settings.set("services.api.rollout.watch", "3s");
    stage.start();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
    let (blue, green) = (stage.blue_name(), stage.green_name());
    for (dies, ends, serves) in [(&green, 1, "v1"), (&blue, 0, "v2")] {
        let load = stage.load_of(Plan { websockets: 0, slow: 0, ..Plan::mixed(stage.address()) });
        let rolling = stage.ctl_begun(&["rolling", "api"]);
        stage.wait_step("watch");
        kill(stage.instance(dies).pid.unwrap(), Signal::KILL);
        rolling.end(LONG).expect(ends);
        assert_eq!((stage.serving(), stage.answering()), (vec![blue.clone()], serves.to_owned()));
        stage.wait_state(&green, InstanceState::Stopped);
        // At most what each connection had under way; nothing is executed twice, nothing that was
        // acknowledged is missing.
        let report = load.finish(Some(&stage.executed())).unwrap();
        println!("{dies} died: {report}");
        assert!(report.lost <= 8 && report.orders.twice == 0, "{dies} died: {report}");
        assert_eq!(report.orders.never, 0, "{dies} died: {report}");
    }
}
