//! A whole aibk in a temporary directory: the real daemon, real nginx, real uvicorn.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use aibk::config::Config;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::{
    LONG, Ports, Running, Settings, Site, kill,
    load::{Load, Plan},
    notify::{Notified, with_stored},
    processes,
    releases::Releases,
    venv, wait_for,
};

/// Everything that one scenario needs. Dropping it stops the daemon in order, and fails the test
/// when a process is left behind.
#[derive(Debug)]
pub struct Stage {
    /// aibk.yaml, until the daemon is started.
    pub settings: Settings,
    /// Releases of the application; `v1` is the current one.
    pub releases: Releases,
    /// Where clients go: nginx.
    pub public: u16,
    /// The first slot of `api`.
    pub blue: u16,
    /// The second slot of `api`.
    pub green: u16,
    /// The slot of `admin`, and nginx's port for it.
    pub admin: Option<(u16, u16)>,
    daemon: Option<Running>,
    notified: Notified,
    ports: Ports,
    /// Held last, so that it is removed after everything in it has ended.
    directory: TempDir,
}

impl Stage {
    /// Sets everything up: `api` in two slots behind a managed nginx, release `v1`. Nothing runs.
    pub fn new() -> Self {
        // Unix sockets live in it, whose paths may have 107 bytes.
        let directory = tempfile::Builder::new().prefix("aibk-").tempdir_in("/tmp").unwrap();
        let mut ports = Ports::default();
        let (public, blue, green) = (ports.take(), ports.take(), ports.take());
        let releases = Releases::new(directory.path());
        releases.write("v1", "ok");
        releases.set_current("v1");
        let settings = settings(directory.path(), &releases.current(), [blue, green]);
        let notified = Notified::listen(&directory.path().join("notify"));
        let (daemon, admin) = (None, None);
        Self { settings, releases, public, blue, green, admin, daemon, notified, ports, directory }
    }

    /// Sets everything up and starts it.
    pub fn started() -> Self {
        let mut stage = Self::new();
        stage.start();
        stage
    }

    /// Adds the service `admin`, with one slot.
    pub fn add_admin(&mut self) -> &mut Self {
        let (slot, public) = (self.ports.take(), self.ports.take());
        self.admin = Some((slot, public));
        let mut admin = self.settings.get("services.api").clone();
        admin["slots"] = json!([slot]);
        admin["upstream"] = json!({"name": "admin_backend"});
        self.settings.set("services.admin", admin);
        self
    }

    /// Adds a service that is any command.
    pub fn add_command(&mut self, name: &str, argv: &[&str]) -> &mut Self {
        let value = json!({
            "command": argv,
            "directory": self.path(""),
            "env": {"TEST_STAGE": self.path("")},
            "ready": {"alive": "200ms", "deadline": "5s"},
            "restart": restart(),
            "stop": {"deadline": "2s"},
        });
        self.settings.set(&format!("services.{name}"), value);
        self
    }

    /// A port that nobody uses.
    pub fn free_port(&mut self) -> u16 {
        self.ports.take()
    }

    /// Writes nginx.conf and aibk.yaml.
    pub fn write_files(&self) {
        let include = self.path("run/nginx-aibk.conf");
        let admin = self.admin.map(|(_, public)| public);
        fs::write(self.path("aibk.yaml"), self.settings.to_yaml()).unwrap();
        let choice = self.choice();
        Site {
            directory: self.dir(),
            port: self.public,
            admin,
            include: &include,
            choice: &choice,
        }
        .write();
    }

    /// The lines that choose a colour, as aibk itself gives them.
    fn choice(&self) -> String {
        let Ok(config) = Config::load(&self.path("aibk.yaml")) else { return String::new() };
        let snippet = aibk::daemon::snippet(&config, &"api".parse().unwrap());
        snippet.map(|snippet| snippet.server.join("\n")).unwrap_or_default()
    }

    /// `api` flips between its slots.
    pub fn flips(&mut self) -> &mut Self {
        self.settings.set("services.api.upstream.switch", "flip");
        self
    }

    /// Starts a daemon on the files as they are, without waiting for it.
    pub fn launch(&mut self) {
        self.launch_by(|aibkd| aibkd);
    }

    /// Starts the command that `by` makes of the daemon's, which has its environment.
    pub fn launch_by(&mut self, by: impl FnOnce(Command) -> Command) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        self.notified.clear();
        let _ = fs::remove_file(self.path("sync-point"));
        let aibkd = self.aibkd();
        let envs: Vec<_> =
            aibkd.get_envs().map(|(key, to)| (key.to_owned(), to.map(ToOwned::to_owned))).collect();
        let mut command = by(aibkd);
        for (key, to) in envs {
            match to {
                Some(to) => command.env(key, to),
                None => command.env_remove(key),
            };
        }
        self.daemon = Some(Running::start_logged(&mut command, &self.path("daemon.log")));
    }

    /// As [`Stage::restart_daemon`], with the descriptors that an earlier daemon had stored.
    #[track_caller]
    pub fn restart_daemon_with_stored(&mut self) {
        let stored = self.notified.copied();
        self.launch_by(|aibkd| with_stored(&aibkd, stored));
        self.wait_ready();
    }

    /// Waits until a descriptor is stored of which the name begins like this.
    #[track_caller]
    pub fn wait_stored(&self, begins: &str) {
        let stored = || self.notified.stored().iter().any(|name| name.starts_with(begins));
        wait_for("a descriptor to be stored", LONG, || stored().then_some(()));
    }

    /// The names of the descriptors that are stored.
    pub fn stored(&self) -> Vec<String> {
        self.notified.stored()
    }

    /// Writes the files, starts the daemon and waits until it says that it is ready.
    #[track_caller]
    pub fn start(&mut self) {
        self.write_files();
        self.restart_daemon();
    }

    /// Starts a daemon on the files as they are, and waits until it is ready.
    #[track_caller]
    pub fn restart_daemon(&mut self) {
        self.launch();
        self.wait_ready();
    }

    /// Waits for READY.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        wait_for("the daemon to be ready", LONG, || {
            let running = self.daemon.as_mut().is_some_and(Running::is_going_on);
            assert!(running, "the daemon has ended before it was ready");
            self.notified.said().iter().any(|line| line == "READY=1").then_some(())
        });
    }

    /// What the daemon told systemd: `READY=1`, `STATUS=...`.
    pub fn notified(&self) -> Vec<String> {
        self.notified.said()
    }

    /// The daemon's command, as it is started; a test may start a second one.
    pub fn aibkd(&self) -> Command {
        let mut aibkd = Command::new(env!("CARGO_BIN_EXE_aibkd"));
        aibkd.arg("--config").arg(self.path("aibk.yaml"));
        aibkd.env("NOTIFY_SOCKET", self.path("notify")).env("TEST_STAGE", self.path(""));
        aibkd.env("AIBK_SYNC_POINT_FILE", self.path("sync-point"));
        aibkd.env_remove("WATCHDOG_USEC").env_remove("LISTEN_FDS").env("RUST_BACKTRACE", "1");
        aibkd
    }

    /// The daemon's process.
    pub fn daemon_pid(&self) -> i32 {
        self.daemon.as_ref().expect("the daemon runs").pid()
    }

    /// Makes the daemon kill itself at a sync point: `rollout.effect:3` is its third passage.
    pub fn die_at(&self, point: &str) {
        fs::write(self.path("sync-point"), point).unwrap();
    }

    /// Whether the daemon has not ended by itself.
    pub fn daemon_goes_on(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(Running::is_going_on)
    }

    /// Forgets a daemon that has ended by itself.
    pub fn bury_daemon(&mut self) {
        assert!(!self.daemon_goes_on(), "the daemon lives");
        self.daemon = None;
    }

    /// Kills the daemon with SIGKILL. What it started goes on.
    pub fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        kill(daemon.pid(), Signal::KILL);
        daemon.status(LONG);
    }

    /// Waits for the end of a daemon that was told to stop: nothing is left of it.
    #[track_caller]
    pub fn end_of_daemon(&mut self) -> std::process::ExitStatus {
        let status = self.daemon.take().expect("the daemon runs").status(LONG);
        let left = processes::touching(self.dir());
        assert!(left.is_empty(), "left behind after an orderly stop: {left:#?}");
        status
    }

    /// Stops the daemon with SIGTERM: everything it started is ended before it ends.
    #[track_caller]
    pub fn stop_daemon(&mut self) {
        kill(self.daemon_pid(), Signal::TERM);
        let status = self.end_of_daemon();
        assert!(status.success(), "the daemon ended with {status}");
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// A path in the directory.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir().join(relative)
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.path("run/control.sock")
    }

    /// Where clients go.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.public).into()
    }

    /// A load of every kind, through nginx.
    pub fn load(&self) -> Load {
        self.load_of(Plan::mixed(self.address()))
    }

    /// The load `plan`, which has begun to be answered.
    pub fn load_of(&self, plan: Plan) -> Load {
        let load = Load::start(Plan { to: self.address(), ..plan }).unwrap();
        wait_for("the load to begin", LONG, || (load.progress().answered > 20).then_some(()));
        load
    }

    /// The file to which the application writes a line for each execution of an order.
    pub fn executed(&self) -> PathBuf {
        self.path("executed")
    }

    fn clear(&mut self) {
        self.daemon = None;
        wait_for("everything on the stage to end", LONG, || {
            let left = processes::touching(self.dir());
            // One may end between the look and the signal.
            let pids = left.iter().filter_map(|(pid, _)| rustix::process::Pid::from_raw(*pid));
            pids.for_each(|pid| {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            });
            left.is_empty().then_some(())
        });
    }

    fn explain(&self) {
        for log in ["daemon.log", "log/nginx-error.log", "nginx-error.log"] {
            let text = fs::read(self.path(log)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            let last = lines.len().saturating_sub(60);
            eprintln!("-- the end of {log}\n{}", lines[last..].join("\n"));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.explain();
            self.clear();
            return;
        }
        if self.daemon.is_some() {
            let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.stop_daemon();
            }));
            if let Err(why) = stopped {
                self.explain();
                self.clear();
                std::panic::resume_unwind(why);
            }
        }
        self.clear();
    }
}

fn restart() -> serde_json::Value {
    json!({"delay": "100ms", "factor": 2, "cap": "1s", "stable": "5s", "limit": 4})
}

fn settings(dir: &Path, current: &Path, slots: [u16; 2]) -> Settings {
    Settings::new(json!({
        "runtime_dir": dir.join("run"),
        "state_dir": dir.join("state"),
        "log_dir": dir.join("log"),
        "control": {"socket": dir.join("run/control.sock")},
        "nginx": {
            "mode": "managed",
            "binary": "nginx",
            "config": dir.join("nginx.conf"),
            "prefix": dir,
            "file": dir.join("run/nginx-aibk.conf"),
            "pid_file": dir.join("nginx.pid"),
            "error_log": dir.join("nginx-error.log"),
            "proof_socket": dir.join("run/nginx.sock"),
        },
        "services": {"api": {
            "app": "main:app",
            "directory": current,
            "venv": venv(),
            "slots": slots,
            "env": {"EXECUTED_LOG": dir.join("executed"), "TEST_STAGE": dir},
            "loop": "uvloop",
            "http": "httptools",
            "ready": {
                "path": "/health", "interval": "500ms", "timeout": "1s",
                "successes": 2, "failures": 3, "deadline": "10s",
            },
            "stop": {"deadline": "8s"},
            "restart": restart(),
            "drain": {"deadline": "5s", "on_deadline": "stop"},
            "rollout": {"watch": "500ms", "keep_old": "10m", "standby": "stopped"},
            "upstream": {"name": "api_backend"},
        }},
    }))
}
