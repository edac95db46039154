//! A real nginx in a temporary directory, with a site that includes aibk's file.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use aibk::{
    config::{self, NginxMode, Slots, UpstreamOptions},
    ident::{Port, ServiceName},
    nginx::{
        Edition, Flip, Members, Nginx, NginxError, Observed, Proxied, Role, Snippet, Switch,
        Upstreams,
    },
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

/// Long for a loaded machine; nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The site, and its nginx while one runs.
pub(crate) struct Site {
    pub(crate) nginx: Arc<Nginx>,
    pub(crate) config: config::Nginx,
    pub(crate) services: aibk::nginx::Site,
    /// Where the site listens.
    pub(crate) port: u16,
    child: Option<Child>,
    /// Process groups of every nginx started here: orphans stay in theirs.
    groups: Vec<u32>,
    dir: TempDir,
}

impl Site {
    /// Files only; `include` is the pattern by which the main configuration finds our file.
    pub(crate) fn including(include: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let config = config::Nginx {
            mode: NginxMode::Managed,
            binary: PathBuf::from("/usr/sbin/nginx"),
            config: at("nginx.conf"),
            prefix: Some(dir.path().to_owned()),
            file: at("aibk.conf"),
            pid_file: at("nginx.pid"),
            error_log: at("error.log"),
            request_log: Some(at("requests.log")),
            proof_socket: at("proof.sock"),
            keepalive_min_timeout: Duration::from_secs(2),
            flags: dir.path().to_owned(),
        };
        fs::write(&config.config, main_configuration(dir.path(), include)).unwrap();
        let services = services();
        let nginx = Nginx::new(config.clone(), services.clone());
        let site = Self {
            nginx,
            config,
            services,
            port: free_port(),
            child: None,
            groups: Vec::new(),
            dir,
        };
        site.serve(&format!("listen 127.0.0.1:{};", site.port));
        site
    }

    /// `api` flips between the ports `blue` and `green`, by the lines that the site needs; nginx runs
    /// and serves both, `blue` first. Its flags are in `flags`, below the directory.
    pub(crate) async fn flipping([blue, green]: [u16; 2], flags: &str) -> Self {
        let mut site = Self::including("aibk.conf");
        site.config.flags = site.dir.path().join(flags);
        fs::create_dir_all(&site.config.flags).unwrap();
        let slots = Slots::Two { blue: port(blue), green: port(green) };
        let flip = Flip::new(&service("api"), slots, &site.config.flags).unwrap();
        let mut services = services();
        let api = services.get_mut(&service("api")).unwrap();
        api.switch = Switch::Flip(flip);
        let snippet = Snippet::of(&service("api"), api, None);
        site.nginx = Nginx::new(site.config.clone(), services.clone());
        site.services = services;
        site.serve(&format!("listen 127.0.0.1:{};{}", site.port, snippet.server.join("")));
        let text = format!("location / {{ {} }}\n", snippet.location[0]);
        fs::write(site.dir.path().join("proxy.conf"), text).unwrap();
        let written = site.nginx.write(&[(service("api"), pair(blue, green))].into()).await;
        assert!(written.as_ref().unwrap().warning.is_none(), "{written:?}");
        site.start();
        site.answering().await;
        site
    }

    /// nginx runs, and serves `api` on `port` and `admin` on 9.
    pub(crate) async fn running(port: u16) -> Self {
        let mut site = Self::including("aibk.conf");
        site.write(&[("api", port), ("admin", 9)]).await;
        site.start();
        site.answering().await;
        site
    }

    /// Writes the file with each service on its port, which nginx accepts.
    pub(crate) async fn write(&self, on: &[(&str, u16)]) -> Edition {
        let written = self.nginx.write(&upstreams(on)).await.unwrap();
        assert!(written.warning.is_none(), "{written:?}");
        written.edition
    }

    /// Makes `directives` the body of the site's `server`.
    pub(crate) fn serve(&self, directives: &str) {
        let text = format!("server {{ {directives} include proxy*.conf; }}\n");
        fs::write(self.dir.path().join("site.conf"), text).unwrap();
    }

    /// Makes `text` stand in `http` beside the site's `server`.
    pub(crate) fn beside(&self, text: &str) {
        fs::write(self.dir.path().join("beside.conf"), text).unwrap();
    }

    /// Adds a `location` that needs the upstream of `api`.
    pub(crate) fn proxy(&self) {
        let text = "location / { proxy_pass http://api; }\n";
        fs::write(self.dir.path().join("proxy.conf"), text).unwrap();
    }

    #[allow(clippy::disallowed_methods, reason = "a test ends its children itself")]
    pub(crate) fn start(&mut self) {
        let argv = self.nginx.command();
        let child = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let child = child.unwrap();
        self.groups.push(child.id());
        self.child = Some(child);
    }

    pub(crate) async fn answering(&self) -> Observed {
        until("nginx answers with both workers", async || {
            self.nginx.observe().await.ok().filter(|seen| seen.workers.len() == 2)
        })
        .await
    }

    /// Until a master runs, with or without our file.
    pub(crate) async fn up(&self) {
        let pid_file = &self.config.pid_file;
        until("nginx runs", async || {
            let pid = fs::read_to_string(pid_file).ok()?.trim().parse::<i32>().ok()?;
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            (children.split_whitespace().count() >= 2).then_some(())
        })
        .await;
    }

    /// SIGKILL to the master alone.
    pub(crate) fn kill_master(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGKILL to master and workers.
    pub(crate) fn kill(&mut self) {
        for group in self.groups.drain(..) {
            let group = i32::try_from(group).ok().and_then(Pid::from_raw).unwrap();
            let _ = kill_process_group(group, Signal::KILL);
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    pub(crate) fn file(&self) -> Option<String> {
        fs::read_to_string(&self.config.file).ok()
    }

    pub(crate) fn another(&self, change: impl FnOnce(&mut config::Nginx)) -> Arc<Nginx> {
        let mut config = self.config.clone();
        change(&mut config);
        Nginx::new(config, services())
    }

    /// The file and nginx are as `before` and `text` say.
    pub(crate) async fn assert_unchanged(&self, before: &Observed, text: Option<&str>) {
        assert_eq!(self.file().as_deref(), text);
        assert_eq!(self.nginx.observe().await.unwrap(), *before);
        let names = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn kill_pid(pid: i32) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

fn main_configuration(dir: &Path, include: &str) -> String {
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let dir = dir.display();
    format!(
        "{user}
worker_processes 2;
pid {dir}/nginx.pid;
error_log {dir}/error.log notice;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
    uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    include {dir}/{include};
    include {dir}/site.conf;
    include {dir}/beside*.conf;
}}
"
    )
}

fn services() -> BTreeMap<ServiceName, Proxied> {
    let proxied = |name: &str| Proxied {
        options: UpstreamOptions {
            name: service(name),
            least_conn: true,
            keepalive: 4,
            keepalive_timeout: Duration::from_secs(2),
            zone_kib: Some(64),
            max_fails: 0,
            fail_timeout: Duration::from_secs(10),
            preview: None,
            switch: config::Switch::Reload,
        },
        host: [127, 0, 0, 1].into(),
        switch: Switch::Reload,
    };
    ["api", "admin"].map(|name| (service(name), proxied(name))).into()
}

pub(crate) fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

pub(crate) fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

pub(crate) fn serving(number: u16) -> Members {
    [(port(number), Role::Serving)].into()
}

/// The first serves, the second stands in.
pub(crate) fn pair(first: u16, second: u16) -> Members {
    [(port(first), Role::Serving), (port(second), Role::Backup)].into()
}

/// Each service on its port.
pub(crate) fn upstreams(on: &[(&str, u16)]) -> Upstreams {
    on.iter().map(|(name, port)| (service(name), serving(*port))).collect()
}

/// Free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Looks again and again until `look` gives something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The failure of a publish that was undone.
pub(crate) fn undone<T: std::fmt::Debug>(result: Result<T, NginxError>) -> NginxError {
    match result.unwrap_err() {
        NginxError::Undone { cause, .. } => *cause,
        other => panic!("not undone: {other}"),
    }
}
