//! An application writes more than its pipe holds while there is no daemon.

use std::{fs, os::unix::fs::OpenOptionsExt};

use aibk::api::types::{InstanceState, LogLine};
use rustix::io::ioctl_fionread;
use serde_json::json;

use crate::support::{LONG, Stage, wait_for};

const LINES: usize = 70_000;

#[test]
fn a_pipe_that_is_full_is_read_on_and_no_line_is_lost() {
    let mut stage = Stage::new();
    stage.settings.remove("services.api").remove("nginx");
    stage.settings.set("logs", json!({"keep": 100, "compress": false}));
    let script = "until [ -e go ]; do sleep 0.02; done; \
                  seq -f 'line %.0f of them' 1 70000; echo over; : >over; exec sleep 100000";
    stage.add_command("writer", &["sh", "-c", script]);
    stage.start();
    let before = stage.wait_state("writer", InstanceState::Ready);
    stage.kill_daemon();
    fs::write(stage.path("go"), "").unwrap();
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = fs::File::options();
    let pipe = options.read(true).custom_flags(nonblocking).open(stage.path("run/fifo/writer.out"));
    let pipe = pipe.unwrap();
    wait_for("the pipe to be full", LONG, || {
        (ioctl_fionread(&pipe).unwrap() > 1_000_000).then_some(())
    });
    assert!(!stage.path("over").exists(), "it has to wait");
    // The next one dies with all of it in hand, and the one after that has it.
    stage.launch();
    stage.die_at("capture.begun:3");
    wait_for("the daemon's death", LONG, || (!stage.daemon_goes_on()).then_some(()));
    stage.bury_daemon();
    stage.restart_daemon();
    wait_for("it to go on", LONG, || stage.path("over").exists().then_some(()));
    let after = stage.wait_state("writer", InstanceState::Ready);
    assert_eq!((after.pid, after.restarts), (before.pid, 0));
    wait_for("the last line", LONG, || {
        let last = stage.ctl(&["logs", "-n", "1", "writer"]).expect(0).stdout;
        last.trim_end().ends_with("over").then_some(())
    });
    let all = stage.ctl(&["logs", "--json", "--since", "1h", "writer"]).expect(0).stdout;
    let lines: Vec<LogLine> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut next = 1;
    for line in &lines[..lines.len() - 1] {
        // A disk that was too slow for a moment is told.
        let missing = line.text.strip_prefix("[aibk: ").and_then(|text| text.split(' ').next());
        if let Some(missing) = missing {
            next += missing.parse::<usize>().unwrap();
        } else {
            assert_eq!(line.text, format!("line {next} of them"));
            next += 1;
        }
    }
    assert_eq!(next, LINES + 1);
}
