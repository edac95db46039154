//! The keys of a service that is an `app` under uvicorn.

use std::{net::Ipv4Addr, path::PathBuf};

use super::{Asgi, mistake::Wrong, scalar, section::Section, workers::workers};

/// Keys that have no meaning without `app`.
pub(super) const KEYS: &[&str] = &["venv", "host", "socket", "workers", "loop", "http", "args"];

/// Arguments that are ours to give, and what to write instead. A name that ends with `*` stands
/// for all that begin so.
const OURS: &[(&str, &str)] = &[
    ("--port", "use `slots`"),
    ("--host", "use `host`"),
    ("--fd", "use `socket: held`"),
    ("--uds", "remove it: aibk decides what is listened on"),
    ("--workers", "use `workers`"),
    ("--loop", "use `loop`"),
    ("--http", "use `http`"),
    ("--env-file", "use `env_file`"),
    ("--reload*", "remove it: new code comes in by a rollout"),
    ("--timeout-graceful-shutdown", "use `drain.deadline`, which it follows"),
    ("--timeout-keep-alive", "remove it: it must be longer than nginx's `keepalive_timeout`"),
];

const LOOPS: &[(&str, &str)] = &[("auto", "auto"), ("asyncio", "asyncio"), ("uvloop", "uvloop")];
const HTTPS: &[(&str, &str)] = &[("auto", "auto"), ("h11", "h11"), ("httptools", "httptools")];

/// Reads the keys; `None` when `app` is absent or wrong.
pub(super) fn asgi(s: &mut Section<'_>) -> Option<Asgi> {
    let app = s.get("app", scalar::import);
    let venv = s.or("venv", PathBuf::from(".venv"), scalar::path);
    let host = s.or("host", Ipv4Addr::LOCALHOST.into(), scalar::address);
    let (socket, workers) = workers(s);
    let event_loop = s.get("loop", scalar::word_or_import(LOOPS));
    let http = s.get("http", scalar::word_or_import(HTTPS));
    let args = s.list("args", argument).unwrap_or_default();
    let args = args.into_iter().map(|(_, argument)| argument).collect();
    Some(Asgi { app: app?, venv, host, socket, workers, event_loop, http, args })
}

fn argument(node: &super::tree::Node) -> Result<String, Wrong> {
    let argument = scalar::text(node)?;
    let name = argument.split('=').next().unwrap_or_default();
    let matches = |ours: &str| match ours.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == ours,
    };
    match OURS.iter().find(|(ours, _)| matches(ours)) {
        Some((_, hint)) => Err(Wrong::new(format!("aibk gives `{name}` itself")).instead(*hint)),
        None => Ok(argument),
    }
}
