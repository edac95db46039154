//! An nginx of its own, with two instances behind it that nobody supervises.

use std::{fs, path::Path, process::Command, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    common::rest,
    during,
    support::{
        LONG, Nginx, Ports, Running, Site, Stage, children_of, fetch, kill,
        load::{Plan, Report},
        venv, wait_for,
    },
};

/// What aibk replaces: start the second instance, wait for its `/health`, restart the first one; nginx,
/// which knows the second as `backup`, is not touched.
pub fn script(stage: &Stage, plan: Plan) -> Report {
    let peer = Peer::new(stage, " backup");
    let mut first = peer.instance(peer.ports[0]);
    let plan = Plan { to: peer.address(), ..plan };
    let (report, ended) = during(plan, || {
        let second = peer.instance(peer.ports[1]);
        end(&mut first);
        [peer.instance(peer.ports[0]), second]
    });
    for mut instance in ended {
        end(&mut instance);
    }
    report
}

/// The least that a rolling update of two slots by reload asks of a machine: before, and while nginx
/// is reloaded three times and two instances come and go, of which nginx knows nothing.
pub fn bare(stage: &Stage, plan: Plan, phase: Duration) -> (Report, Report) {
    let peer = Peer::new(stage, "");
    let mut pair = [peer.instance(peer.ports[0]), peer.instance(peer.ports[1])];
    let plan = Plan { to: peer.address(), ..plan };
    let before = during(plan, || rest(phase)).0;
    let (report, ()) = during(plan, || {
        for _ in 0..2 {
            peer.reload();
            end(&mut peer.instance(peer.ports[2]));
        }
        peer.reload();
    });
    pair.iter_mut().for_each(end);
    (before, report)
}

struct Peer<'a> {
    stage: &'a Stage,
    directory: TempDir,
    public: u16,
    ports: [u16; 3],
    _nginx: Nginx,
}

impl<'a> Peer<'a> {
    /// nginx, with the first two of its ports behind it; `second` says how it has the second.
    fn new(stage: &'a Stage, second: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut free = Ports::default();
        let (public, ports) = (free.take(), [free.take(), free.take(), free.take()]);
        let include = directory.path().join("upstream.conf");
        let [one, two, _] = ports;
        let members = format!("server 127.0.0.1:{one}; server 127.0.0.1:{two}{second};");
        fs::write(&include, format!("upstream api_backend {{ {members} keepalive 32; }}\n"))
            .unwrap();
        let dir = directory.path();
        Site { directory: dir, port: public, admin: None, include: &include, choice: "" }.write();
        let nginx = Nginx::start(dir, public);
        Self { stage, directory, public, ports, _nginx: nginx }
    }

    fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.public).into()
    }

    /// Until no worker of before is left.
    fn reload(&self) {
        let pid = fs::read_to_string(self.directory.path().join("nginx.pid")).unwrap();
        let master = pid.trim().parse().unwrap();
        let old = children_of(master);
        kill(master, Signal::HUP);
        wait_for("the old workers to be gone", LONG, || {
            let now = children_of(master);
            (!now.is_empty() && old.iter().all(|pid| !now.contains(pid))).then_some(())
        });
    }

    /// uvicorn as the script's unit starts it, once its `/health` answers.
    fn instance(&self, port: u16) -> Running {
        let mut command = Command::new(venv().join("bin/uvicorn"));
        command.args(["main:app", "--loop", "uvloop", "--http", "httptools"]);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.current_dir(self.stage.releases.current());
        let out: &Path = &self.directory.path().join(format!("{port}.out"));
        let running = Running::start_logged(&mut command, out);
        wait_for("its /health", LONG, || {
            fetch(port, "/health").is_ok_and(|(status, _)| status == 200).then_some(())
        });
        running
    }
}

fn end(instance: &mut Running) {
    kill(instance.pid(), Signal::TERM);
    instance.status(LONG);
}
