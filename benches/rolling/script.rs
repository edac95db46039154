//! What aibk replaces: start the second instance, wait for its `/health`, restart the first one; nginx,
//! which knows the second as `backup`, is not touched.

use std::{fs, path::Path, process::Command};

use rustix::process::Signal;

use crate::support::{
    LONG, Nginx, Ports, Running, Site, Stage, fetch, kill,
    load::{Plan, Report},
    venv, wait_for,
};

/// Runs it once, under `plan`, on ports and an nginx of its own; the release is that of `stage`.
pub fn run(stage: &Stage, plan: Plan) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let mut ports = Ports::default();
    let (public, primary, standby) = (ports.take(), ports.take(), ports.take());
    let include = directory.path().join("upstream.conf");
    let members = format!("server 127.0.0.1:{primary}; server 127.0.0.1:{standby} backup;");
    fs::write(&include, format!("upstream api_backend {{ {members} keepalive 32; }}\n")).unwrap();
    Site { directory: directory.path(), port: public, admin: None, include: &include, choice: "" }
        .write();
    let nginx = Nginx::start(directory.path(), public);
    let mut first = instance(stage, directory.path(), primary);
    let plan = Plan { to: ([127, 0, 0, 1], public).into(), ..plan };
    let (report, ended) = crate::during(plan, || {
        let second = instance(stage, directory.path(), standby);
        kill(first.pid(), Signal::TERM);
        first.status(LONG);
        [instance(stage, directory.path(), primary), second]
    });
    for mut instance in ended {
        kill(instance.pid(), Signal::TERM);
        instance.status(LONG);
    }
    drop(nginx);
    report
}

/// uvicorn as the script's unit starts it, once its `/health` answers.
fn instance(stage: &Stage, directory: &Path, port: u16) -> Running {
    let mut command = Command::new(venv().join("bin/uvicorn"));
    command.args(["main:app", "--loop", "uvloop", "--http", "httptools"]);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    command.current_dir(stage.releases.current());
    let running = Running::start_logged(&mut command, &directory.join(format!("{port}.out")));
    wait_for("its /health", LONG, || {
        fetch(port, "/health").is_ok_and(|(status, _)| status == 200).then_some(())
    });
    running
}
