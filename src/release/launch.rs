//! From a service, a release and a slot to what is started: argument vector, environment and
//! directory. Pure.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use super::{Account, Release};
use crate::{
    config::{Asgi, Kind, Service, UVICORN_KEEP_ALIVE, Variables},
    ident::{Generation, InstanceId, Port, RolloutId, Slot},
    process::SpawnSpec,
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
    /// Which start it is.
    pub generation: Generation,
    /// The rollout that asked for it.
    pub rollout: Option<RolloutId>,
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
        Kind::Asgi(asgi) => uvicorn(service, asgi, &release.directory, slot),
        Kind::Command(argv) => command(argv, slot),
    };
    SpawnSpec {
        argv,
        env: environment(start),
        directory: release.directory.clone(),
        user: service.user.clone(),
        group: service.group.clone(),
    }
}

/// `python -m uvicorn` rather than `bin/uvicorn`: the first line of that script holds the path at
/// which the venv was made, and a venv may have been moved since.
fn uvicorn(service: &Service, asgi: &Asgi, directory: &Path, slot: Slot) -> Vec<OsString> {
    let python = directory.join(&asgi.venv).join("bin/python");
    let mut argv: Vec<OsString> = vec![python.into(), "-m".into(), "uvicorn".into()];
    argv.push(OsString::from(&asgi.app));
    let mut option = |name: &str, value: String| argv.extend([name.into(), value.into()]);
    option("--host", asgi.host.to_string());
    if let Some(port) = slot.port() {
        option("--port", port.to_string());
    }
    if asgi.workers > 1 {
        option("--workers", asgi.workers.to_string());
    }
    if let Some(event_loop) = &asgi.event_loop {
        option("--loop", event_loop.clone());
    }
    if let Some(http) = &asgi.http {
        option("--http", http.clone());
    }
    option("--timeout-graceful-shutdown", service.drain.graceful().as_secs().to_string());
    option("--timeout-keep-alive", UVICORN_KEEP_ALIVE.as_secs().to_string());
    argv.extend(asgi.args.iter().map(OsString::from));
    argv
}

fn command(argv: &[String], slot: Slot) -> Vec<OsString> {
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
    let own = start.env_file.iter().chain(&start.service.env);
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
    if let Some(rollout) = start.rollout {
        env.push(("AIBK_ROLLOUT".into(), rollout.to_string().into()));
    }
    env
}
