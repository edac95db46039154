//! `upstream` of a service: how nginx talks to it, or `none`.

use std::time::Duration;

use super::{
    Switch, UVICORN_KEEP_ALIVE, UpstreamOptions,
    mistake::Wrong,
    nginx_path,
    scalar::{self, some_time},
    section::Section,
    service::Reader,
    tree::Value,
};
use crate::ident::{Port, ServiceName};

/// Reads it; without the key, an `app` is behind nginx if there is one, a `command` is not.
pub(super) fn upstream(
    s: &mut Section<'_>,
    reader: &Reader<'_>,
    is_asgi: bool,
    ports: usize,
) -> Option<UpstreamOptions> {
    let node = s.node("upstream");
    match node.map(|node| &node.value) {
        Some(Value::Text(word)) if word == "none" => return None,
        Some(Value::Text(word)) => {
            let wrong = Wrong::new("expected a mapping or `none`").like(word, ["none"]);
            s.complain("upstream", wrong);
            return None;
        }
        None if !is_asgi || reader.nginx.is_none() => return None,
        _ => {}
    }
    if node.is_some() && reader.nginx.is_none() {
        let wrong = Wrong::new("there is no nginx to be behind");
        s.complain("upstream", wrong.instead("add a section `nginx`, or remove it"));
    } else if !is_asgi && ports == 0 {
        let wrong = Wrong::new("nginx cannot reach a service without a port");
        s.complain("upstream", wrong.instead("give the service `slots`"));
    }
    s.section("upstream", |s| options(s, reader, ports))
}

fn options(s: &mut Section<'_>, reader: &Reader<'_>, ports: usize) -> Option<UpstreamOptions> {
    let name = name(s, reader);
    let switch = switch(s, reader, ports, name.as_ref());
    let keepalive_timeout = s.or("keepalive_timeout", Duration::from_secs(2), some_time);
    if keepalive_timeout >= UVICORN_KEEP_ALIVE {
        let limit = UVICORN_KEEP_ALIVE.as_secs();
        let wrong = Wrong::new(format!("uvicorn closes idle connections after {limit}s"));
        s.complain("keepalive_timeout", wrong.instead("use less, 2s if in doubt"));
    }
    Some(UpstreamOptions {
        least_conn: s.or("least_conn", false, scalar::boolean),
        keepalive: s.or("keepalive", 32, scalar::whole(0..=4096)),
        keepalive_timeout,
        // nginx refuses a zone of less than eight pages.
        zone_kib: s.get("zone_kib", scalar::whole(32..=1_048_576)),
        max_fails: s.or("max_fails", 0, scalar::whole(0..=1000)),
        fail_timeout: s.or("fail_timeout", Duration::from_secs(10), some_time),
        preview: preview(s, reader, ports),
        switch,
        name: name?,
    })
}

/// The variable of nginx that holds the colour of a service that flips: `$aibk_api`. nginx's
/// variables have no `-` in their names.
#[must_use]
pub fn flip_variable(service: &ServiceName) -> String {
    format!("$aibk_{}", service.as_str().replace('-', "_"))
}

fn switch(
    s: &mut Section<'_>,
    reader: &Reader<'_>,
    ports: usize,
    name: Option<&ServiceName>,
) -> Switch {
    let words = &[("reload", Switch::Reload), ("flip", Switch::Flip)];
    let switch = s.or("switch", Switch::Reload, scalar::one_of(words));
    let (Switch::Flip, Some(nginx)) = (switch, reader.nginx) else { return switch };
    if ports != 2 {
        let wrong = Wrong::new("`flip` switches between two slots");
        s.complain("switch", wrong.instead("give the service two `slots`, or write `reload`"));
    }
    if let Some(wrong) = nginx_path::wrong(&nginx.flags) {
        let instead = "set `nginx.flags` to a path of letters, digits and /._-+@,=";
        s.complain("switch", wrong.instead(instead));
    }
    let at = s.node("switch").map_or(s.at(), |node| node.at);
    let variable =
        reader.name.map(|service| format!("nginx variable `{}`", flip_variable(service)));
    let upstreams = name.map(|name| ["blue", "green"].map(|c| format!("upstream `{name}_{c}`")));
    for what in variable.into_iter().chain(upstreams.into_iter().flatten()) {
        if let Err(wrong) = reader.claims.claim(what, reader.owner(), at) {
            s.complain_at(at, "switch", wrong);
        }
    }
    switch
}

/// A port of its own: neither a slot's nor another service's.
fn preview(s: &mut Section<'_>, reader: &Reader<'_>, ports: usize) -> Option<Port> {
    let port = s.get("preview", scalar::port)?;
    if ports != 2 {
        let wrong = Wrong::new("only a service with two slots has something to be seen before");
        s.complain("preview", wrong.instead("give the service two `slots`, or remove it"));
    }
    let at = s.node("preview").map_or(s.at(), |node| node.at);
    if let Err(wrong) = reader.claims.claim(format!("port {port}"), reader.owner(), at) {
        s.complain_at(at, "preview", wrong);
    }
    Some(port)
}

fn name(s: &mut Section<'_>, reader: &Reader<'_>) -> Option<ServiceName> {
    let given = s.get("name", scalar::service_name);
    if s.has("name") && given.is_none() {
        return None;
    }
    let default = || ServiceName::new(&format!("{}_backend", reader.name?)).ok();
    let Some(name) = given.or_else(default) else {
        if reader.name.is_some() {
            // Only a name too long for the suffix gets here.
            s.missing("name");
        }
        return None;
    };
    let at = s.node("name").map_or(s.at(), |node| node.at);
    if let Err(wrong) = reader.claims.claim(format!("upstream `{name}`"), reader.owner(), at) {
        s.complain_at(at, "name", wrong);
    }
    Some(name)
}
