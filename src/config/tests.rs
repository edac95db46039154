//! Whole files: the examples load, and every bad one is answered with exactly its golden text
//! (`AIBK_BLESS=1` writes them anew, to be read before they are committed).

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::*;
use crate::{
    ident::{Port, ServiceName},
    sys::confine::{Confinement, MemoryLimit, NewPrivileges, OnRefusal, ReadOnly, Tmp},
};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/aibk/aibk.yaml"))
}

fn service<'c>(config: &'c Config, name: &str) -> &'c Service {
    config.services.get(&ServiceName::new(name).unwrap()).unwrap()
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

#[test]
fn every_bad_file_is_told_all_its_mistakes() {
    let mut files = 0;
    for entry in fs::read_dir(project("tests/golden/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let error = Config::parse(&text, &Path::new("/etc/aibk").join(name)).unwrap_err();
        let told = format!("{error}\n").replace("/etc/aibk/", "");
        let golden = path.with_extension("txt");
        if std::env::var_os("AIBK_BLESS").is_some() {
            fs::write(&golden, &told).unwrap();
        }
        assert_eq!(told, fs::read_to_string(&golden).unwrap_or_default(), "{name}");
        assert!(!format!("{told}{error:?}").contains("hunter2"), "{name} tells a secret");
        files += 1;
    }
    assert!(files > 10);
}

#[test]
fn the_deployment_example_loads() {
    let config = Config::load(&project("packaging/aibk.yaml")).unwrap();
    let nginx = config.nginx.as_ref().unwrap();
    assert_eq!(nginx.mode, NginxMode::System);
    assert_eq!(nginx.proof_socket, Path::new("/run/aibk-nginx.sock"));
    assert_eq!(config.control.group.as_deref(), Some("aibk"));
    let api = service(&config, "api");
    assert_eq!(api.slots, Slots::Two { blue: port(8000), green: port(8001) });
    assert_eq!(api.env_file.as_deref().unwrap(), Path::new("/home/ai-bookkeeping/app/server/.env"));
    assert_eq!(api.user.as_deref(), Some("ai-bookkeeping"));
    assert_eq!(api.stop.deadline, Duration::from_secs(45));
    assert_eq!(api.upstream.as_ref().unwrap().name.as_str(), "api_backend");
    let Kind::Asgi(asgi) = &api.kind else { panic!("api is not asgi") };
    assert_eq!((asgi.workers.count, asgi.app.as_str()), (2, "app.main:app"));
    assert_eq!(asgi.event_loop.as_deref(), Some("uvloop"));
    assert_eq!(asgi.http.as_deref(), Some("httptools"));
    assert_eq!(service(&config, "admin").slots, Slots::One(port(8002)));
    let limits: Vec<_> = api.confinement.limits.rlimits.iter().map(ToString::to_string).collect();
    assert_eq!(limits, ["nofile 65535", "nproc 4096"]);
    assert_eq!(api.confinement.sandbox.new_privileges, NewPrivileges::Refused);
}

#[test]
fn limits_and_the_sandbox_are_read() {
    let read = |keys: &str| {
        let text = format!("services: {{w: {{command: [x], directory: /w, {keys}}}}}\n");
        service(&parse(&text).unwrap(), "w").confinement.clone()
    };
    assert_eq!(read("user: root"), Confinement::default());
    let w = read(
        "umask: 0027, nice: -5, on_refusal: warn, limits: {core: 0, nofile: 1024:unlimited, \
         memlock: 64KiB, cpu_time: 2h, memory: 1GiB, memory_high: 768MiB, sample: 2s, cpus: 1.5, \
         cpu_weight: 50, pids: 64}, sandbox: {capabilities: [CAP_CHOWN, NET_BIND_SERVICE], \
         private_tmp: true, read_only: all, writable: [data]}",
    );
    assert_eq!((w.umask, w.nice, w.on_refusal), (0o027, Some(-5), OnRefusal::Warn));
    let limits = &w.limits;
    let rlimits: Vec<_> = limits.rlimits.iter().map(ToString::to_string).collect();
    assert_eq!(rlimits, ["core 0", "cpu_time 7200", "memlock 65536", "nofile 1024:unlimited"]);
    let memory = MemoryLimit { bytes: 1 << 30, sample: Duration::from_secs(2) };
    assert_eq!((limits.memory, limits.memory_high), (Some(memory), Some(768 << 20)));
    assert_eq!((limits.cpu_thousandths, limits.cpu_weight), (Some(1500), Some(50)));
    assert_eq!(limits.pids, Some(64));
    assert_eq!(w.sandbox.capabilities.unwrap().to_string(), "CHOWN NET_BIND_SERVICE");
    assert_eq!((w.sandbox.tmp, &w.sandbox.read_only), (Tmp::Private, &ReadOnly::All));
    assert_eq!(w.sandbox.writable, [Path::new("/etc/aibk/data")]);

    let refused = |keys: &str| read(keys).sandbox.new_privileges == NewPrivileges::Refused;
    assert!(refused("user: web") && refused("sandbox: {private_tmp: true}"));
    assert!(!refused("user: web, sandbox: {no_new_privs: false}"));
    assert_eq!(read("umask: '0o77'").umask, 0o077);
}

#[test]
fn the_shortest_example_loads_with_all_defaults() {
    let path = project("packaging/minimal.yaml");
    assert!(fs::read_to_string(&path).unwrap().lines().count() < 15);
    let config = Config::load(&path).unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/aibk"));
    assert_eq!(config.nginx.as_ref().unwrap().file, Path::new("/etc/nginx/conf.d/aibk.conf"));
    let api = service(&config, "api");
    let Kind::Asgi(asgi) = &api.kind else { panic!("api is not asgi") };
    assert_eq!(asgi.host, IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!((asgi.workers.count, asgi.venv.as_path()), (1, Path::new(".venv")));
    let Sign::Asked(ready) = &api.ready.sign else { panic!("api is not asked") };
    assert_eq!(ready.how.to_string(), "GET /health: 200-299");
    assert_eq!(ready.thresholds, Thresholds { successes: 2, failures: 3 });
    assert_eq!(api.startup, None);
    let live = api.live.as_ref().unwrap();
    assert_eq!(live.how.to_string(), "GET /health: any status");
    assert_eq!((live.interval.as_secs(), live.timeout.as_secs()), (10, 5));
    assert_eq!(live.thresholds, Thresholds { successes: 1, failures: 3 });
    assert_eq!(api.rollout.standby, Standby::Stopped);
    assert_eq!(api.stop.deadline, Duration::from_secs(45));
    let upstream = api.upstream.as_ref().unwrap();
    assert_eq!((upstream.name.as_str(), upstream.max_fails), ("api_backend", 0));
}

#[test]
fn relative_paths_begin_at_the_file() {
    let config = parse(
        "runtime_dir: run\nnginx: {mode: managed, config: ./nginx.conf, binary: nginx}\n\
         services: {w: {command: [./run], directory: code, env_file: ../w.env}}\n",
    )
    .unwrap();
    let nginx = config.nginx.as_ref().unwrap();
    assert_eq!(config.runtime_dir, Path::new("/etc/aibk/run"));
    assert_eq!(config.control.socket, Path::new("/etc/aibk/run/control.sock"));
    assert_eq!(config.control.group, None, "no group is needed away from the host's own place");
    assert_eq!(nginx.config, Path::new("/etc/aibk/nginx.conf"));
    assert_eq!(nginx.binary, Path::new("nginx"));
    assert_eq!(nginx.pid_file, Path::new("/etc/aibk/run/nginx.pid"));
    let worker = service(&config, "w");
    assert_eq!(worker.directory, Path::new("/etc/aibk/code"));
    assert_eq!(worker.env_file.as_deref().unwrap(), Path::new("/etc/aibk/code/../w.env"));
    assert_eq!((worker.slots, &worker.upstream), (Slots::Sole, &None));
    assert_eq!(worker.ready.sign, Sign::Alive { after: Duration::from_secs(1) });
    assert_eq!((&worker.startup, &worker.live), (&None, &None));
}

#[test]
fn every_way_to_ask_is_read() {
    let config = parse(
        "services:\n  api:\n    app: a:b\n    directory: /srv\n    slots: [8000]\n    \
         startup: {interval: 1s, failures: 20}\n    \
         ready: {path: /ready, expect: [200-204, 301], header: 'X-Ready: yes', body: ok}\n    \
         live: none\n  db:\n    command: [db]\n    directory: /srv\n    slots: [5432]\n    \
         ready: {command: [pg_isready, -p, '{port}']}\n    live: {tcp: true, failures: 5}\n",
    )
    .unwrap();
    let told = |check: &Option<Box<Check>>| check.as_ref().map(|check| check.how.to_string());
    let asked = |ready: &Ready| match &ready.sign {
        Sign::Asked(check) => check.how.to_string(),
        Sign::Alive { .. } => panic!("is not asked"),
    };
    let api = service(&config, "api");
    let ready = "GET /ready: 200-204, 301, x-ready: yes, \"ok\" in its body";
    assert_eq!(asked(&api.ready), ready);
    assert_eq!(told(&api.startup).as_deref(), Some(ready), "the same question");
    assert_eq!(api.startup.as_ref().unwrap().thresholds.failures, 20);
    assert_eq!(api.live, None);
    let db = service(&config, "db");
    assert_eq!(asked(&db.ready), "command pg_isready -p {port}");
    assert_eq!(told(&db.live).as_deref(), Some("a connection"));
    let text = "services: {w: {app: 'a:b', directory: /w, slots: [1], ready: {alive: 1s}}}";
    assert_eq!(service(&parse(text).unwrap(), "w").live, None, "there is no question to repeat");
}

#[test]
fn values_of_env_are_kept_as_written_and_never_shown() {
    let config = parse(
        "services: {w: {command: [x], directory: /w, \
         env: {A: 1.10, B: 007, C: yes, D: true, E: '', F: 1e3, G: 'pa$$ #1'}}}\n",
    )
    .unwrap();
    let env = &service(&config, "w").env;
    let values: Vec<&str> = env.iter().map(|(_, value)| value.expose()).collect();
    assert_eq!(values, ["1.10", "007", "yes", "true", "", "1e3", "pa$$ #1"]);
    assert!(!format!("{config:?}").contains("pa$$"));
}

#[test]
fn what_is_not_yaml_tells_no_secret() {
    for broken in [
        "p: \"hunter2",
        "p: !!int hunter2",
        "p: !!bool hunter2",
        "p: !!binary hunter2",
        "p: !!float hunter2",
        "p: *hunter2",
        "p: {hunter2",
        "p: hunter2: hunter2",
        "p: @hunter2",
        "p: 'hunter2' hunter2",
        "p: |hunter2",
        "p: \"\\hunter2\"",
        "p: hunter2\n\thunter2",
        "!hunter2 p: hunter2",
        "<<: hunter2",
    ] {
        let error = parse(&format!("services: {{}}\n{broken}\n")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{broken}: {error}");
    }
}

#[test]
fn anchors_and_merges_serve_to_share_settings() {
    let config = parse(
        "services:\n  api: &api\n    app: a:b\n    directory: /srv\n    slots: [8000]\n    \
         workers: 4\n  admin:\n    <<: *api\n    slots: [8002]\n",
    )
    .unwrap();
    let Kind::Asgi(admin) = &service(&config, "admin").kind else { panic!("not asgi") };
    assert_eq!((admin.workers.count, service(&config, "admin").slots), (4, Slots::One(port(8002))));
}

#[test]
fn a_service_may_stay_away_from_nginx() {
    let config = parse(
        "nginx: {}\nservices: {api: {app: 'a:b', directory: /srv, slots: [80], upstream: none}}\n",
    )
    .unwrap();
    assert_eq!(service(&config, "api").upstream, None);
}

#[test]
fn files_that_cannot_be_read_are_told_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let told = |name: &str, bytes: Option<&[u8]>| {
        let path = directory.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let told = Config::load(&path).unwrap_err().to_string();
        assert_eq!(told.lines().count(), 2, "{told}");
        told.replace(&format!("{}/", directory.path().display()), "")
    };
    assert!(told("gone", None).starts_with("gone: no such file"));
    assert!(told("", None).contains("is a directory"));
    assert!(told("empty", Some(b"")).starts_with("empty: is empty; describe"));
    assert!(told("latin", Some(b"a: 1\nb: \xe9\n")).contains("not UTF-8 text, first on line 2"));
    let large = vec![b'#'; 1024 * 1024 + 1];
    assert!(told("large", Some(&large)).contains("larger than 1 MiB"));
}

#[test]
fn uvicorn_gets_longer_than_the_drain_in_whole_seconds() {
    let drain = |millis| Drain {
        deadline: Duration::from_millis(millis),
        on_deadline: OnDeadline::Stop,
        websocket: Websocket::Wait,
    };
    assert_eq!(drain(30_000).graceful(), Duration::from_secs(32));
    assert_eq!(drain(30_001).graceful(), Duration::from_secs(33));
    assert_eq!(drain(0).graceful(), Duration::from_secs(2));
}

#[test]
fn the_host_is_asked_apart() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "runtime_dir: run\nnginx: {{binary: no-such-nginx, config: /etc/passwd, file: /tmp/x}}\n\
         services:\n  api: {{app: 'a:b', directory: {d}, slots: [1], user: no-such-user, \
         env_file: none.env}}\n  gone: {{command: [x], directory: {d}/gone, group: no-such}}\n",
        d = directory.path().display()
    );
    let told: Vec<String> = check_host(&parse(&text).unwrap())
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.about)
        .collect();
    let expected = [
        "nginx.binary",
        "services.api.user",
        "services.api.venv",
        "services.api.env_file",
        "services.gone.group",
        "services.gone.directory",
    ];
    assert_eq!(told, expected);
    assert!(find_program(Path::new("sh")).is_some());
    assert!(find_program(Path::new("/bin/sh")).is_some());
    assert!(find_program(Path::new("/etc/passwd")).is_none());
}
