//! From a service, a release and a slot to what is started: argument vector, environment and
//! directory. Pure.

use std::{collections::BTreeMap, ffi::OsString};

use super::{Account, Release};
use crate::{
    config::{Asgi, By, Kind, Service, UVICORN_KEEP_ALIVE, Variables},
    ident::{Generation, InstanceId, Port, RolloutId, Slot, Worker},
    process::{LISTENER, Listener, SpawnSpec},
};

/// Where programs are looked for, behind the venv's own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One start of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Of which service.
    pub service: &'a Service,
    /// Which code.
    pub release: &'a Release,
    /// Where it will live.
    pub slot: Slot,
    /// Which of several process trees in the slot it is.
    pub worker: Option<Worker>,
    /// Which start it is.
    pub generation: Generation,
    /// The rollout that asked for it.
    pub rollout: Option<RolloutId>,
    /// The socket that it is given to listen on, where it does not make its own.
    pub listener: Option<&'a Listener>,
    /// Who runs it: [`Account::look_up`] of the service's user.
    pub account: &'a Account,
    /// What its env file says now: [`crate::config::load_env_file`].
    pub env_file: &'a Variables,
}

/// What the process room has to start for `start`.
#[must_use]
pub fn launch(start: &Start<'_>) -> SpawnSpec {
    let Start { service, release, slot, .. } = *start;
    let argv = match &service.kind {
        Kind::Asgi(asgi) => uvicorn(start, asgi),
        Kind::Command(argv) => command(argv, slot),
    };
    SpawnSpec {
        argv,
        env: environment(start),
        directory: release.directory.clone(),
        user: service.user.clone(),
        group: service.group.clone(),
        confinement: service.confinement.clone(),
        listener: start.listener.cloned(),
    }
}

/// `python -m uvicorn` rather than `bin/uvicorn`: the first line of that script holds the path at
/// which the venv was made, and a venv may have been moved since.
fn uvicorn(start: &Start<'_>, asgi: &Asgi) -> Vec<OsString> {
    let python = start.release.directory.join(&asgi.venv).join("bin/python");
    let mut argv: Vec<OsString> = vec![python.into(), "-m".into(), "uvicorn".into()];
    argv.push(OsString::from(&asgi.app));
    let mut option = |name: &str, value: String| argv.extend([name.into(), value.into()]);
    if start.listener.is_some() {
        option("--fd", LISTENER.to_string());
    } else {
        option("--host", asgi.host.to_string());
        if let Some(port) = start.slot.port() {
            option("--port", port.to_string());
        }
    }
    if asgi.workers.count > 1 && asgi.workers.by == By::Uvicorn {
        option("--workers", asgi.workers.count.to_string());
    }
    if let Some(event_loop) = &asgi.event_loop {
        option("--loop", event_loop.clone());
    }
    if let Some(http) = &asgi.http {
        option("--http", http.clone());
    }
    option("--timeout-graceful-shutdown", start.service.drain.graceful().as_secs().to_string());
    option("--timeout-keep-alive", UVICORN_KEEP_ALIVE.as_secs().to_string());
    argv.extend(asgi.args.iter().map(OsString::from));
    argv
}

/// A command's arguments; `{port}` becomes the slot's port.
#[must_use]
pub fn command(argv: &[String], slot: Slot) -> Vec<OsString> {
    let port = slot.port().map(Port::get).map(|port| port.to_string());
    let filled = |argument: &String| match &port {
        Some(port) => argument.replace("{port}", port),
        None => argument.clone(),
    };
    argv.iter().map(filled).map(OsString::from).collect()
}

/// Nothing of the daemon's own environment; each of these groups wins over the one before.
fn environment(start: &Start<'_>) -> Vec<(OsString, OsString)> {
    let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
    env.extend(base(start));
    let configured = start.service.env.iter().map(|(name, value)| (name, value));
    let own = start.env_file.iter().chain(configured);
    env.extend(own.map(|(name, value)| (name.into(), value.expose().into())));
    env.extend(identity(start));
    env.into_iter().collect()
}

fn base(start: &Start<'_>) -> Vec<(OsString, OsString)> {
    let Account { name, home } = start.account;
    let mut env: Vec<(OsString, OsString)> = vec![
        ("HOME".into(), home.into()),
        ("LANG".into(), "C.UTF-8".into()),
        ("LOGNAME".into(), name.into()),
        ("PATH".into(), PATH.into()),
        ("PYTHONUNBUFFERED".into(), "1".into()),
        ("USER".into(), name.into()),
    ];
    if let Kind::Asgi(asgi) = &start.service.kind {
        let venv = start.release.directory.join(&asgi.venv);
        let mut path = venv.join("bin").into_os_string();
        path.push(":");
        path.push(PATH);
        env.extend([("PATH".into(), path), ("VIRTUAL_ENV".into(), venv.into())]);
    }
    env
}

fn identity(start: &Start<'_>) -> Vec<(OsString, OsString)> {
    let service = &start.service.name;
    let instance = InstanceId::new(service.clone(), start.slot);
    let mut env: Vec<(OsString, OsString)> = vec![
        ("AIBK_SERVICE".into(), service.as_str().into()),
        ("AIBK_INSTANCE".into(), instance.to_string().into()),
        ("AIBK_GENERATION".into(), start.generation.to_string().into()),
        ("AIBK_RELEASE".into(), (&start.release.id.0).into()),
    ];
    if let Some(worker) = start.worker {
        env.push(("AIBK_WORKER".into(), worker.to_string().into()));
    }
    if let Some(rollout) = start.rollout {
        env.push(("AIBK_ROLLOUT".into(), rollout.to_string().into()));
    }
    env
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::{
        config::{Config, Secret},
        ident::{ReleaseId, ServiceName},
    };

    const TEXT: &str = "
services:
  api:
    app: app.main:app
    directory: /srv/api/current
    slots: [8000, 8001]
    user: web
    workers: 2
    loop: uvloop
    http: httptools
    args: [--proxy-headers]
    drain: {deadline: 1500ms}
    env: {LANG: de_DE.UTF-8, BOTH: config, AIBKISH: x}
  worker:
    command: [./run, '--listen=127.0.0.1:{port}']
    directory: /srv/worker
    slots: [9000]
";

    fn launched(service: &str, port: u16, rollout: Option<RolloutId>) -> SpawnSpec {
        let config = Config::parse(TEXT, Path::new("/etc/aibk/aibk.yaml")).unwrap();
        let secret = |value: &str| Secret::new(value);
        launch(&Start {
            service: config.services.get(&ServiceName::new(service).unwrap()).unwrap(),
            release: &Release { id: ReleaseId("r1".into()), directory: "/srv/r1".into() },
            slot: Slot::Port(Port::new(port).unwrap()),
            worker: None,
            listener: None,
            generation: Generation(7),
            rollout,
            account: &Account { name: "web".into(), home: "/home/web".into() },
            env_file: &Variables::from([
                ("BOTH".into(), secret("file")),
                ("FILE".into(), secret("a b")),
                ("AIBK_SERVICE".into(), secret("other")),
            ]),
        })
    }

    fn environment_of(spec: &SpawnSpec) -> HashMap<&str, &str> {
        let text = |value: &'_ OsString| value.to_str().unwrap().to_owned().leak() as &str;
        spec.env.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn uvicorn_is_run_as_a_module_of_the_release_s_own_python() {
        let spec = launched("api", 8001, None);
        let argv: Vec<_> = spec.argv.iter().map(|word| word.to_str().unwrap()).collect();
        let expected = "/srv/r1/.venv/bin/python -m uvicorn app.main:app --host 127.0.0.1 \
                        --port 8001 --workers 2 --loop uvloop --http httptools \
                        --timeout-graceful-shutdown 4 --timeout-keep-alive 75 --proxy-headers";
        assert_eq!(argv, expected.split_whitespace().collect::<Vec<_>>());
        assert_eq!((spec.directory.to_str(), spec.user.as_deref()), (Some("/srv/r1"), Some("web")));
    }

    #[test]
    fn the_environment_is_built_in_order_and_inherits_nothing() {
        let spec = launched("api", 8001, Some(RolloutId(3)));
        let env = environment_of(&spec);
        for (name, value) in [
            ("PATH", format!("/srv/r1/.venv/bin:{PATH}").as_str()),
            ("VIRTUAL_ENV", "/srv/r1/.venv"),
            ("HOME", "/home/web"),
            ("USER", "web"),
            ("LOGNAME", "web"),
            ("PYTHONUNBUFFERED", "1"),
            ("LANG", "de_DE.UTF-8"),
            ("BOTH", "config"),
            ("FILE", "a b"),
            ("AIBKISH", "x"),
            ("AIBK_SERVICE", "api"),
            ("AIBK_INSTANCE", "api@8001"),
            ("AIBK_GENERATION", "7"),
            ("AIBK_RELEASE", "r1"),
            ("AIBK_ROLLOUT", "3"),
        ] {
            assert_eq!(env.get(name), Some(&value), "{name}");
        }
        assert_eq!(env.len(), 15);
    }

    #[test]
    fn a_command_gets_its_port_filled_in_and_no_venv() {
        let spec = launched("worker", 9000, None);
        assert_eq!(spec.argv, ["./run", "--listen=127.0.0.1:9000"]);
        let env = environment_of(&spec);
        assert_eq!(env.get("PATH"), Some(&PATH));
        assert!(!env.contains_key("VIRTUAL_ENV") && !env.contains_key("AIBK_ROLLOUT"));
    }
}
