//! Another program takes the daemon's place.

use std::fs;

use aibk::api::types::{InstanceState, Version};
use rustix::process::Signal;

use crate::support::{LONG, Stage, kill, wait_for};

fn version(stage: &Stage) -> Version {
    let told = stage.ctl(&["version", "--json"]).expect(0).stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    serde_json::from_value(told["daemon"].clone()).unwrap()
}

#[test]
fn a_program_in_the_daemons_place_has_its_pid_its_children_and_its_socket() {
    let mut stage = Stage::new();
    stage.add_command("worker", &["sleep", "1000"]);
    stage.start();
    let load = stage.load();
    let names = [stage.blue_name(), "worker".to_owned()];
    let pids = |stage: &Stage| names.each_ref().map(|name| stage.instance(name).pid.unwrap());
    let (before, daemon, old) = (pids(&stage), stage.daemon_pid(), version(&stage));
    for _ in 0..5 {
        // Nobody who asks meanwhile is refused.
        let asking: Vec<_> = (0..4).map(|_| stage.ctl_begun(&["events"])).collect();
        stage.ctl(&["daemon-reexec"]).expect(0).says(&["took the place of"]);
        for asked in asking {
            asked.end(LONG).expect(0);
        }
    }
    let new = version(&stage);
    assert_eq!(i64::from(new.pid), i64::from(daemon));
    assert_ne!(new.begun, old.begun);
    assert_eq!(pids(&stage), before);
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!((report.lost, report.reuse_races), (0, 0), "{report}");
    wait_for("READY of the last one", LONG, || {
        let said = stage.notified();
        let of = |word: &str| said.iter().rposition(|line| line == word);
        (of("READY=1") > of("RELOADING=1") && of("RELOADING=1").is_some()).then_some(())
    });

    // They are its children still: it learns how they end.
    kill(before[1], Signal::TERM);
    stage.wait_instance("worker", "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != Some(before[1])
    });
    stage.ctl(&["events"]).expect(0).says(&["worker was killed by signal 15"]);
}

#[test]
fn a_program_that_cannot_take_over_is_refused_before_the_old_one_is_gone() {
    let stage = Stage::started();
    let old = version(&stage);
    let good = stage.settings.to_yaml();
    fs::write(stage.path("aibk.yaml"), format!("workerz: 2\n{good}")).unwrap();
    stage.ctl(&["daemon-reexec"]).expect(4).says(&["cannot take over", "workerz"]);
    fs::write(stage.path("aibk.yaml"), good).unwrap();
    let db = rusqlite::Connection::open(stage.path("state/aibk.db")).unwrap();
    let known: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    db.pragma_update(None, "user_version", 9999).unwrap();
    stage.ctl(&["daemon-reexec"]).expect(4).says(&["cannot take over", "9999"]);
    db.pragma_update(None, "user_version", known).unwrap();
    assert_eq!(version(&stage), old);
    assert_eq!(stage.answering(), "v1");
}
