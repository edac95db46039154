//! From the file to a [`Config`]: the top level, `control` and `nginx`.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Access, Config, ConfigError, Control, Nginx, NginxMode, Service, app,
    claims::Claims,
    depends::Wishes,
    logs,
    mistake::{Mistakes, Position, Wrong},
    request_log, scalar,
    section::{File, Section},
    service, tree,
};
use crate::ident::ServiceName;

/// A configuration larger than this is not one.
const LARGEST: usize = 1024 * 1024;

/// Where the host's one daemon is asked.
const HOST_SOCKET: &str = "/run/aibk/control.sock";

/// `sun_path` of `unix(7)`, less the zero at its end.
const LONGEST_SOCKET: usize = 107;

impl Config {
    /// Reads the file at `path`. The host is asked for nothing else; see
    /// [`super::check_host`].
    ///
    /// # Errors
    /// Every mistake of the file at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path).map_err(|wrong| ConfigError::whole(path, wrong))?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // Messages name the file as the operator did.
        Self::parse(&text, &absolute).map_err(|error| ConfigError { path: path.into(), ..error })
    }

    /// Reads `text` as the file at `path`, which relative paths begin from and messages name.
    ///
    /// # Errors
    /// Every mistake of the text at once.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let whole = |wrong| ConfigError::whole(path, wrong);
        let empty = || whole(Wrong::new("is empty").instead("describe at least one service"));
        let root = tree::parse(text)
            .map_err(|mistake| ConfigError { path: path.to_owned(), mistakes: vec![mistake] })?
            .ok_or_else(empty)?;
        let mistakes = Mistakes::default();
        root.duplicates(&mut |key, first| {
            let wrong = format!("`{}` is written twice, first on line {}", key.name, first.line);
            mistakes.add(key.at, Wrong::new(wrong).instead("keep one"));
        });
        let base = path.parent().unwrap_or(Path::new("/"));
        let file = File { source: text, base, mistakes: &mistakes };
        let at = Position { line: 1, column: 1 };
        let config = Section::read(&file, String::new(), at, Some(&root), config);
        match mistakes.into_sorted() {
            none if none.is_empty() => Ok(config),
            mistakes => Err(ConfigError { path: path.to_owned(), mistakes }),
        }
    }
}

fn read_text(path: &Path) -> Result<String, Wrong> {
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Wrong::new("no such file").instead("check its name"),
        std::io::ErrorKind::IsADirectory => {
            Wrong::new("is a directory").instead("name the file in it")
        }
        _ => Wrong::new(format!("cannot be read: {error}")),
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > LARGEST {
        return Err(Wrong::new("is larger than 1 MiB").instead("check that it is the right file"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = 1 + good.filter(|byte| **byte == b'\n').count();
        Wrong::new(format!("is not UTF-8 text, first on line {line}")).instead("save it as UTF-8")
    })
}

fn config(s: &mut Section<'_>) -> Config {
    let runtime_dir = s.path_at("runtime_dir").unwrap_or_else(|| PathBuf::from("/run/aibk"));
    let state_dir = s.path_at("state_dir").unwrap_or_else(|| PathBuf::from("/var/lib/aibk"));
    let log_dir = s.path_at("log_dir").unwrap_or_else(|| PathBuf::from("/var/log/aibk"));
    let logs = s.section("logs", logs::logs);
    let control = s.section("control", |s| control(s, &runtime_dir));
    let nginx = s.has("nginx").then(|| s.section("nginx", |s| nginx(s, &runtime_dir, &log_dir)));
    let services = services(s, nginx.as_ref());
    let apps = app::apps(s, &services);
    Config { runtime_dir, state_dir, log_dir, logs, control, nginx, services, apps }
}

fn control(s: &mut Section<'_>, runtime_dir: &Path) -> Control {
    let socket = socket(s, "socket", runtime_dir.join("control.sock"));
    let host_group = || (socket == Path::new(HOST_SOCKET)).then(|| "aibk".to_owned());
    let group = s.get("group", scalar::account).or_else(host_group);
    let mut grants = BTreeMap::new();
    let written = s.has("grants");
    for (key, node) in s.entries("grants") {
        let access = scalar::one_of(ACCESS)(node);
        match scalar::check_account(&key.name).and(access) {
            Ok(access) => drop(grants.insert(key.name.clone(), access)),
            Err(wrong) => s.complain_at(node.at, &format!("grants.{}", key.name), wrong),
        }
    }
    if !written {
        grants.insert("aibk".to_owned(), Access::Operate);
    }
    Control { socket, group, grants }
}

const ACCESS: &[(&str, Access)] = &[
    ("read", Access::Read),
    ("operate", Access::Operate),
    ("deploy", Access::Deploy),
    ("admin", Access::Admin),
];

fn nginx(s: &mut Section<'_>, runtime_dir: &Path, log_dir: &Path) -> Nginx {
    let modes = &[("system", NginxMode::System), ("managed", NginxMode::Managed)];
    let mode = s.or("mode", NginxMode::System, scalar::one_of(modes));
    let (file, pid_file, error_log, proof) = match mode {
        NginxMode::System => (
            PathBuf::from("/etc/nginx/conf.d/aibk.conf"),
            PathBuf::from("/run/nginx.pid"),
            PathBuf::from("/var/log/nginx/error.log"),
            // Not below our runtime directory, which is not there yet when a host boots and its
            // nginx starts before us.
            PathBuf::from("/run/aibk-nginx.sock"),
        ),
        NginxMode::Managed => (
            runtime_dir.join("nginx-aibk.conf"),
            runtime_dir.join("nginx.pid"),
            log_dir.join("nginx-error.log"),
            runtime_dir.join("nginx.sock"),
        ),
    };
    if mode == NginxMode::Managed && !s.has("config") {
        // A private nginx must not run the host's configuration: it would fight for its ports.
        s.missing("config");
    }
    let file = s.path_at("file").unwrap_or(file);
    let beside = || file.parent().unwrap_or(Path::new("/")).to_owned();
    let error_log = s.path_at("error_log").unwrap_or(error_log);
    Nginx {
        mode,
        request_log: request_log::request_log(s, &error_log),
        binary: program(s, "binary").unwrap_or_else(|| PathBuf::from("nginx")),
        config: s.path_at("config").unwrap_or_else(|| PathBuf::from("/etc/nginx/nginx.conf")),
        prefix: s.path_at("prefix"),
        pid_file: s.path_at("pid_file").unwrap_or(pid_file),
        error_log,
        proof_socket: proof_socket(s, proof),
        keepalive_min_timeout: s.or(
            "keepalive_min_timeout",
            Duration::from_secs(2),
            scalar::duration,
        ),
        flags: s.path_at("flags").unwrap_or_else(beside),
        file,
    }
}

/// A bare name stays one, to be looked up; anything else is a path.
fn program(s: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
    let name = s.get(key, scalar::path)?;
    if name.components().count() == 1 { Some(name) } else { s.path_at(key) }
}

fn socket(s: &mut Section<'_>, key: &'static str, default: PathBuf) -> PathBuf {
    let path = s.path_at(key).unwrap_or(default);
    if path.as_os_str().len() > LONGEST_SOCKET {
        let what = format!("{} is too long for a socket", path.display());
        let suggestion = format!("use at most {LONGEST_SOCKET} bytes (see `runtime_dir`)");
        s.complain(key, Wrong::new(what).instead(suggestion));
    }
    path
}

/// This path stands in nginx's own syntax, behind `listen unix:`.
fn proof_socket(s: &mut Section<'_>, default: PathBuf) -> PathBuf {
    let path = socket(s, "proof_socket", default);
    let harmless = |c: char| c.is_alphanumeric() || "/._-+@,=".contains(c);
    if !path.to_string_lossy().chars().all(harmless) {
        let what = format!("{} cannot stand in nginx's configuration", path.display());
        let wrong = Wrong::new(what).instead("use letters, digits and . _ - + @ , = in its path");
        s.complain("proof_socket", wrong);
    }
    path
}

fn services(s: &mut Section<'_>, nginx: Option<&Nginx>) -> BTreeMap<ServiceName, Arc<Service>> {
    let mut services = BTreeMap::new();
    let (claims, wishes) = (Claims::default(), Wishes::default());
    if !s.has("services") {
        s.missing("services");
        return services;
    }
    let entries = s.entries("services");
    if entries.is_empty() && s.sound() {
        let wrong = Wrong::new("describes no service").instead("describe at least one");
        s.complain("services", wrong);
    }
    for entry in entries {
        let name = entry.0.name.parse::<ServiceName>();
        let reader =
            service::Reader { name: name.as_ref().ok(), nginx, claims: &claims, wishes: &wishes };
        let service = s.named("services", entry, |s| reader.service(s));
        match (name, service) {
            (Err(error), _) => {
                s.complain_at(entry.0.at, "services", Wrong::new(error.to_string()));
            }
            (Ok(name), Some(service)) => drop(services.insert(name, Arc::new(service))),
            (Ok(_), None) => {}
        }
    }
    let named = entries.iter().filter_map(|(key, _)| key.name.parse().ok()).collect();
    wishes
        .judge(s, &named, |name| services.get(name).is_some_and(|service| service.is_scheduled()));
    services
}
