//! How the end of an instance's traffic is waited for, what is told of that, and what is cut.

use std::{
    fs, io,
    net::Ipv4Addr,
    thread::{self, JoinHandle},
    time::Duration,
};

use aibk::api::types::{Left, Rollout, RolloutState};
use serde_json::json;

use crate::support::{
    LONG, Stage, fetch,
    load::{Class, Load, Plan, Report},
    run, wait_for,
};

/// Between the connection of a silent client and its request: longer than the grace time.
const SILENCE: Duration = Duration::from_secs(3);

/// A request under way, until it is answered or cut.
type Asked = JoinHandle<io::Result<(u16, String)>>;

fn ask(stage: &Stage, path: &'static str) -> Asked {
    let port = stage.public;
    thread::spawn(move || fetch(port, path))
}

/// Starts it, on a site with the lines that aibk proposes for websockets.
fn start(stage: &mut Stage) {
    stage.write_files();
    let conf = stage.path("nginx.conf");
    let text = fs::read_to_string(&conf).unwrap();
    let line = "proxy_connect_timeout 2s;";
    fs::write(&conf, text.replace(line, &format!("{line} lingering_close always;"))).unwrap();
    stage.restart_daemon();
    stage.releases.write("v2", "ok");
    stage.releases.set_current("v2");
}

/// What the drain under way waits for, once that is as `wanted`, and what people are shown then.
fn waits_for(stage: &Stage, wanted: impl Fn(&Left) -> bool) -> (Left, String) {
    wait_for("a drain that waits", LONG, || {
        let text = stage.ctl(&["status"]).expect(0).stdout;
        let rollout = stage.status().services.into_iter().find_map(|service| service.rollout)?;
        let step = rollout.steps.into_iter().last().filter(|step| step.name == "drain")?;
        let shown = text.contains("open connection");
        step.left.filter(|left| wanted(left) && shown).map(|left| (left, text))
    })
}

fn drains(rollout: &Rollout) -> Vec<(f64, String)> {
    let drains = rollout.steps.iter().filter(|step| step.name == "drain");
    drains.map(|step| (step.took_s.unwrap(), step.note.clone().unwrap_or_default())).collect()
}

/// Nobody lost anything, and every websocket was told good-bye.
#[track_caller]
fn nothing_was_lost(stage: &Stage, load: Load, websockets: u64) -> Report {
    let report = load.finish(Some(&stage.executed())).unwrap();
    println!("{report}");
    assert_eq!((report.lost, report.count(Class::Reset)), (0, 0), "{report}");
    assert!(report.websocket_closes.keys().eq([&1012]), "{report}");
    assert!(report.websocket_closes[&1012] >= websockets, "{report}");
    report
}

/// By a reload, with old nginx workers that websockets keep alive, and in which clients are that
/// connected long before they ask.
#[test]
fn websockets_are_closed_after_a_grace_and_everybody_else_is_waited_for() {
    let mut stage = Stage::new();
    let drain = json!({"deadline": "30s", "websocket": "close", "grace": "2s"});
    stage.settings.set("services.api.drain", drain).set("services.api.stop.deadline", "45s");
    start(&mut stage);
    let load = stage.load_of(Plan { silent: 4, silence: SILENCE, ..Plan::mixed(stage.address()) });
    let long = [ask(&stage, "/slow?seconds=7"), ask(&stage, "/stream?chunks=70&every=0.1")];
    stage.ctl(&["rolling", "api", "--no-wait"]).expect(0);
    let id = stage.wait_step("drain").id.to_string();
    let (left, text) =
        waits_for(&stage, |left| left.connections > 0 && !left.old_workers.is_empty());
    let old = stage.processes("nginx: worker process is shutting down");
    assert!(old.iter().any(|pid| left.old_workers.contains(pid)), "{left:?} {old:?}");
    assert!(text.contains("old nginx worker"), "{text}");
    run(&mut stage.aibkctl(&["wait", &id]), LONG).expect(0);

    let [slow, stream] = long.map(|asked| asked.join().unwrap().unwrap());
    assert_eq!((slow.0, stream.0), (200, 200), "requests outlast websockets");
    assert!(stream.1.contains("000069"), "{}", stream.1);
    let rollout = stage.rollouts().remove(0);
    assert_eq!((rollout.state, rollout.cut), (RolloutState::Done, 0));
    assert_eq!(stage.answering(), "v2");
    for (took, note) in drains(&rollout) {
        assert!(took < 8.0, "it waited for websockets: {took} {note}");
        assert!(note.contains("closed with 1012"), "{note}");
    }
    nothing_was_lost(&stage, load, 4);
}

/// By a flip, with uvicorn's other way to speak to websockets.
#[test]
fn at_the_deadline_websockets_are_closed_and_what_is_cut_is_counted() {
    let mut stage = Stage::new();
    stage.flips().settings.set("services.api.args", json!(["--ws", "wsproto"]));
    stage.settings.set("services.api.drain.deadline", "3s");
    stage.settings.set("services.api.rollout.watch", "0s");
    start(&mut stage);
    run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
    let load = stage.load();
    let (cut, whole) = (ask(&stage, "/slow?seconds=14"), ask(&stage, "/slow?seconds=4"));
    let answered = load.progress().answered;
    wait_for("answers", LONG, || (load.progress().answered > answered + 100).then_some(()));
    run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
    let stopping = stage.ctl_begun(&["stop", &stage.green_name()]);
    let (left, _) = waits_for(&stage, |left| left.oldest_s > 0);
    assert!(left.old_workers.is_empty(), "they send to the other colour: {left:?}");
    let told = ["1 request was cut"];
    stopping.end(LONG).expect(0).says(&told);

    let rollout = stage.rollouts().remove(0);
    assert_eq!(rollout.cut, 1, "{rollout:?}");
    let [(took, note)] = &drains(&rollout)[..] else { panic!("one drain: {rollout:?}") };
    assert!(*took < 8.0 && note.starts_with("at its deadline"), "{took} {note}");
    stage.ctl(&["rollouts", &rollout.id.to_string()]).expect(0).says(&told);
    stage.ctl(&["events"]).expect(0).says(&["is done, 1 request was cut"]);
    assert_ne!(cut.join().unwrap().ok().map(|answer| answer.0), Some(200));
    assert_eq!(whole.join().unwrap().unwrap().0, 200);
    let report = nothing_was_lost(&stage, load, 2);
    assert_eq!(report.orders.once, report.orders.acknowledged, "{report}");
}

/// After a flip nobody can begin a request on it any more: the grace is all that websockets get, and
/// requests are finished.
#[test]
fn after_a_flip_websockets_are_closed_after_the_grace() {
    let mut stage = Stage::new();
    let drain = json!({"deadline": "30s", "websocket": "close", "grace": "1s"});
    stage.flips().settings.set("services.api.drain", drain);
    stage.settings.set("services.api.stop.deadline", "45s").set("services.api.rollout.watch", "0s");
    start(&mut stage);
    run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
    let load = stage.load_of(Plan { silent: 4, silence: SILENCE, ..Plan::mixed(stage.address()) });
    let whole = ask(&stage, "/slow?seconds=5");
    let answered = load.progress().answered;
    wait_for("answers", LONG, || (load.progress().answered > answered + 100).then_some(()));
    run(&mut stage.aibkctl(&["swap", "api"]), LONG).expect(0);
    run(&mut stage.aibkctl(&["stop", &stage.green_name()]), LONG).expect(0);
    let rollout = stage.rollouts().remove(0);
    let [(took, note)] = &drains(&rollout)[..] else { panic!("one drain: {rollout:?}") };
    assert!(*took < 8.0 && note.contains("closed with 1012"), "{took} {note}");
    assert_eq!((rollout.cut, whole.join().unwrap().unwrap().0), (0, 200));
    nothing_was_lost(&stage, load, 2);
}

/// In the same slot, where new processes take over on the socket that aibkd holds.
#[test]
fn websockets_of_a_held_slot_are_closed_after_the_grace_too() {
    let mut stage = Stage::new();
    let (_, public) = stage.add_admin().admin.unwrap();
    let drain = json!({"deadline": "30s", "websocket": "close", "grace": "1s"});
    stage.settings.set("services.admin.socket", "held").set("services.admin.drain", drain);
    stage.settings.set("services.admin.stop.deadline", "45s");
    start(&mut stage);
    let to = (Ipv4Addr::LOCALHOST, public).into();
    let load = Load::start(Plan { slow: 0, ..Plan::mixed(to) }).unwrap();
    wait_for("the load to begin", LONG, || (load.progress().answered > 20).then_some(()));
    let long = thread::spawn(move || fetch(public, "/slow?seconds=4"));
    let answered = load.progress().answered;
    wait_for("answers", LONG, || (load.progress().answered > answered + 100).then_some(()));
    run(&mut stage.aibkctl(&["rolling", "admin"]), LONG).expect(0);
    let rollout = stage.rollouts().remove(0);
    let took = rollout.steps.iter().find(|step| step.name == "replace").unwrap().took_s.unwrap();
    assert!(took < 12.0 && rollout.cut == 0, "{rollout:?}");
    assert_eq!(long.join().unwrap().unwrap().0, 200);
    nothing_was_lost(&stage, load, 2);
}
