//! What the operator asked for, validated: the types every other room reads.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use super::{App, By, Check, Depends, Job, Logs, Ready, Reload, Restart, Secret, Socket, Workers};
use crate::{
    ident::{AppName, Port, ServiceName, Slot},
    sys::confine::Confinement,
};

/// A whole, valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// FIFOs, the control socket and nginx's proof socket live here; kept over a restart.
    pub runtime_dir: PathBuf,
    /// The database lives here.
    pub state_dir: PathBuf,
    /// Instance logs live here.
    pub log_dir: PathBuf,
    /// How much of the output of each instance is kept there.
    pub logs: Logs,
    /// Who may ask for what, and where.
    pub control: Control,
    /// The proxy in front, if aibk drives one.
    pub nginx: Option<Nginx>,
    /// Every service, by name; shared with whoever looks after it.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// Every application, by name: services that are deployed as one.
    pub apps: BTreeMap<AppName, Arc<App>>,
}

impl Config {
    /// Keeps those services of `old` that are the same here.
    #[must_use]
    pub fn sharing(mut self, old: &Self) -> Self {
        for (name, service) in &mut self.services {
            if let Some(same) = old.services.get(name).filter(|was| *was == service) {
                *service = Arc::clone(same);
            }
        }
        self
    }

    /// The application that `service` belongs to.
    #[must_use]
    pub fn app_of(&self, service: &ServiceName) -> Option<&Arc<App>> {
        self.apps.values().find(|app| app.services.contains(service))
    }
}

/// The control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Where it listens.
    pub socket: PathBuf,
    /// Group that owns the socket (mode 0660); `None` leaves it to the daemon's own. Default:
    /// `aibk` for the host's one daemon (socket at `/run/aibk/control.sock`), else none, so that a
    /// whole aibk in a temporary directory needs no group.
    pub group: Option<String>,
    /// What members of a group may do beyond nothing; root and the daemon's own user are admin.
    pub grants: BTreeMap<String, Access>,
}

/// How far a caller may go; each level includes those before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// See status, logs, events.
    Read,
    /// Start, stop, restart, swap, cancel.
    Operate,
    /// Bring other code into service.
    Deploy,
    /// Everything.
    Admin,
}

/// The nginx that aibk publishes upstreams to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nginx {
    /// Whose child nginx is.
    pub mode: NginxMode,
    /// The executable; without a `/` it is looked up by [`super::find_program`].
    pub binary: PathBuf,
    /// The main configuration file, which must include [`Nginx::file`] in its `http` block.
    pub config: PathBuf,
    /// The prefix given as `-p`, where the configuration needs one.
    pub prefix: Option<PathBuf>,
    /// The one file we own.
    pub file: PathBuf,
    /// Where nginx's master writes its pid.
    pub pid_file: PathBuf,
    /// Where nginx explains itself (`[emerg]` lines are shown to the operator).
    pub error_log: PathBuf,
    /// Where nginx notes each request that it passed on, without address and URL; `None`: nowhere.
    pub request_log: Option<PathBuf>,
    /// The unix socket on which nginx tells which upstreams it serves.
    pub proof_socket: PathBuf,
    /// How long nginx spares an idle connection of a client at a reload, where nginx has
    /// `keepalive_min_timeout` and the site does not set it; zero: not at all.
    pub keepalive_min_timeout: Duration,
    /// Directory of the flags that tell nginx's workers which colour serves.
    pub flags: PathBuf,
}

/// Whose child nginx is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NginxMode {
    /// The host's own, started by systemd.
    System,
    /// A private one, supervised as an instance named `nginx`.
    Managed,
}

/// One service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// What is run.
    pub kind: Kind,
    /// Where its instances live.
    pub slots: Slots,
    /// The code; a symbolic link is resolved when a rollout begins, so it may be a `current` link.
    pub directory: PathBuf,
    /// Who runs it; `None` is the daemon's own user.
    pub user: Option<String>,
    /// Its group; `None` is the user's own.
    pub group: Option<String>,
    /// What its processes may use and do.
    pub confinement: Confinement,
    /// Variables given in the configuration itself, by name; they win over the env file's.
    pub env: Box<[(String, Secret)]>,
    /// A dotenv file, read afresh at each start.
    pub env_file: Option<PathBuf>,
    /// What makes it a job; `None`: it is kept running.
    pub job: Option<Box<Job>>,
    /// What it waits for.
    pub depends: Depends,
    /// When it has come up; `None`: when it is ready.
    pub startup: Option<Box<Check>>,
    /// When it may have traffic.
    pub ready: Ready,
    /// When it hangs; `None`: nobody asks.
    pub live: Option<Box<Check>>,
    /// How it is ended.
    pub stop: Stop,
    /// What happens when it ends by itself.
    pub restart: Restart,
    /// How it is told to read its own configuration again, where it can be.
    pub reload: Option<Box<Reload>>,
    /// How traffic leaves it.
    pub drain: Drain,
    /// What rollouts leave behind.
    pub rollout: RolloutPolicy,
    /// Unix sockets it listens on: a killed one leaves them behind, and they would refuse the next
    /// start's bind, so they are removed before a start when nobody answers on them.
    pub clears: Vec<PathBuf>,
    /// How nginx talks to it; `None` when it is not behind nginx.
    pub upstream: Option<Box<UpstreamOptions>>,
}

/// What a service runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A uvicorn process.
    Asgi(Box<Asgi>),
    /// Any argument vector; `{port}` in an argument becomes the slot's port.
    Command(Vec<String>),
}

/// A uvicorn process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asgi {
    /// `module:attribute`.
    pub app: String,
    /// Its virtual environment; relative to the release's directory unless absolute.
    pub venv: PathBuf,
    /// The address it listens on.
    pub host: std::net::IpAddr,
    /// Whose the listening socket is.
    pub socket: Socket,
    /// How many processes serve, and whose children they are.
    pub workers: Workers,
    /// `--loop`, where given.
    pub event_loop: Option<String>,
    /// `--http`, where given.
    pub http: Option<String>,
    /// More arguments, as they are.
    pub args: Vec<String>,
}

/// The slots of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slots {
    /// It listens on no port.
    Sole,
    /// One port.
    One(Port),
    /// Two ports: start-before-stop is possible.
    Two {
        /// The primary.
        blue: Port,
        /// The standby.
        green: Port,
    },
}

impl Service {
    /// It is a job that runs by a schedule.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.schedule.is_some())
    }

    /// The address its instances listen on.
    #[must_use]
    pub const fn host(&self) -> std::net::IpAddr {
        match &self.kind {
            Kind::Asgi(asgi) => asgi.host,
            Kind::Command(_) => std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        }
    }
}

impl Service {
    /// The workers that the daemon itself runs in each slot, on a socket that it holds; `None` where
    /// an instance listens for itself.
    #[must_use]
    pub const fn held(&self) -> Option<u16> {
        match &self.kind {
            Kind::Asgi(asgi) if matches!(asgi.socket, Socket::Held) => {
                Some(match asgi.workers.by {
                    By::Aibkd => asgi.workers.count,
                    By::Uvicorn => 1,
                })
            }
            Kind::Asgi(_) | Kind::Command(_) => None,
        }
    }
}

impl Slots {
    /// Every slot, the first (blue) first.
    #[must_use]
    pub fn all(self) -> Vec<Slot> {
        match self {
            Self::Sole => vec![Slot::Sole],
            Self::One(port) => vec![Slot::Port(port)],
            Self::Two { blue, green } => vec![Slot::Port(blue), Slot::Port(green)],
        }
    }
}

/// How an instance is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// How its main process is asked.
    pub signal: StopSignal,
    /// From SIGTERM to the end of the whole tree. Longer than the drain deadline.
    pub deadline: Duration,
}

/// The signal that asks a process to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM.
    #[default]
    Term,
    /// SIGQUIT, which is nginx's word for "finish, then end" (nginx(8)).
    Quit,
}

impl Drain {
    /// When the instance may be told to end although something is open, if that is before the
    /// deadline.
    #[must_use]
    pub const fn grace(&self) -> Option<Duration> {
        match self.websocket {
            Websocket::Wait => None,
            Websocket::Close { grace } => Some(grace),
        }
    }

    /// `--timeout-graceful-shutdown`, in whole seconds: what a uvicorn that got SIGTERM gives its
    /// open requests. Longer than the drain, so that it is the last resort; a request it cuts is
    /// answered with 500.
    #[must_use]
    pub fn graceful(&self) -> Duration {
        let longer = self.deadline + Duration::from_secs(2);
        let part = u64::from(longer.subsec_nanos() > 0);
        Duration::from_secs(longer.as_secs() + part)
    }
}

/// `--timeout-keep-alive`, in seconds: above nginx's `keepalive_timeout`, so that an idle
/// connection is never closed by the application first.
pub const UVICORN_KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How traffic leaves an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// The longest wait for old nginx workers and open connections.
    pub deadline: Duration,
    /// What then.
    pub on_deadline: OnDeadline,
    /// What becomes of websockets, which may stay open for ever.
    pub websocket: Websocket,
}

/// What becomes of websockets while an instance is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Websocket {
    /// They have all the time that requests have.
    Wait,
    /// The instance is told to end while they are open: uvicorn closes them with code 1012, and
    /// finishes requests.
    Close {
        /// After this.
        grace: Duration,
    },
}

/// What happens to an instance that still has traffic at its drain deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeadline {
    /// It is stopped; what that cut is told.
    Stop,
    /// It is kept, and the rollout ends as failed.
    Keep,
}

/// What rollouts do between the steps, and leave behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutPolicy {
    /// How long a freshly published instance is watched.
    pub watch: Duration,
    /// How long a swap leaves the old colour warm.
    pub keep_old: Duration,
    /// How long a swap is held for somebody to let it go on.
    pub hold: Duration,
    /// What the second slot does between rollouts.
    pub standby: Standby,
    /// By which shares of the requests a new release comes in, before it gets all; ascending.
    pub canary: Vec<super::Share>,
    /// How much worse than the old colour the new one may be; `None`: that is not looked at.
    pub judge: Option<super::Judge>,
}

/// What the second slot does between rollouts (T5 of the rolling update).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standby {
    /// It is stopped.
    Stopped,
    /// It runs, and nginx knows it as `backup`.
    Hot,
    /// It runs and shares the load.
    Shared,
}

/// How nginx talks to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamOptions {
    /// The name in `proxy_pass http://NAME`.
    pub name: ServiceName,
    /// `least_conn` instead of round robin.
    pub least_conn: bool,
    /// Idle connections kept per worker process; zero leaves the directive out.
    pub keepalive: u32,
    /// How long an idle connection is kept; below uvicorn's own time.
    pub keepalive_timeout: Duration,
    /// Shared memory zone, in KiB, where given.
    pub zone_kib: Option<u32>,
    /// `max_fails`; zero because a supervisor knows better than nginx's counting.
    pub max_fails: u32,
    /// `fail_timeout`.
    pub fail_timeout: Duration,
    /// Where a slot that is held can be tried out, on 127.0.0.1; `None`: at its own port alone.
    pub preview: Option<Port>,
    /// How its traffic goes from one slot to the other.
    pub switch: Switch,
}

/// How traffic goes from one slot to the other, where both stay in the upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Switch {
    /// nginx reads its configuration again.
    #[default]
    Reload,
    /// nginx looks for a flag file at each request.
    Flip,
}
