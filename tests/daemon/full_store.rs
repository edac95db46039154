//! No space is left where the state is kept.

use std::fs;

use aibk::api::types::InstanceState;
use rustix::process::Signal;

use crate::support::{LONG, SmallDisk, Stage, kill, wait_for};

#[test]
fn a_full_disk_lets_nothing_begin_and_everything_go_on() {
    let disk = SmallDisk::new(2048);
    let mut stage = Stage::new();
    stage.settings.set("state_dir", disk.path().join("state").to_str().unwrap());
    stage.settings.set("services.api.rollout.watch", "100ms");
    stage.start();
    let before = stage.wait_state(&stage.blue_name(), InstanceState::Ready);
    disk.fill();

    // Room that the database had already may let something through, but not this.
    let refused = wait_for("a refusal", LONG, || {
        let asked = stage.ctl(&["rolling", "api"]);
        (asked.status != Some(0)).then_some(asked)
    });
    refused.says(&["no space is left", "free some"]);
    assert_eq!(refused.status, Some(1), "{refused}");
    assert_eq!(stage.answering(), "v1");
    stage.ctl(&["status"]).expect(0);

    // What dies is started again although that cannot be written down.
    let serving = stage.instance(&stage.blue_name());
    kill(serving.pid.unwrap(), Signal::KILL);
    let after = stage.wait_instance(&stage.blue_name(), "back", LONG, |seen| {
        seen.state == InstanceState::Ready && seen.pid != serving.pid
    });
    assert_eq!(stage.answering(), "v1");
    let log = fs::read_to_string(stage.path("daemon.log")).unwrap();
    assert!(log.contains("no space is left"), "{log}");

    disk.make_room();
    stage.ctl(&["rolling", "api"]).expect(0);
    // And all that was owed to the disk is there for the next daemon.
    let rolled = stage.wait_state(&stage.blue_name(), InstanceState::Ready);
    stage.kill_daemon();
    stage.restart_daemon();
    let adopted = stage.wait_state(&stage.blue_name(), InstanceState::Ready);
    assert_eq!((adopted.pid, adopted.generation), (rolled.pid, rolled.generation));
    assert!(before.generation < after.generation && after.generation < rolled.generation);
}
