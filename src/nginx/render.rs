//! The owned file as text: pure, the same input gives the same bytes, and the text reads back.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use super::{
    Edited, Members, NginxError, PROOF_PATH, Role, Switch, extras,
    flip::{Colour, Flag, exchanged, flips},
    preview, requests,
};
use crate::{
    config::UpstreamOptions,
    ident::{Port, ServiceName},
};

/// How a service stands behind nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxied {
    /// The options of its upstream.
    pub options: UpstreamOptions,
    /// The address its instances listen on; where that is every address, nginx uses loopback.
    pub host: IpAddr,
    /// How its traffic goes from one slot to the other.
    pub switch: Switch,
}

/// Every service behind nginx.
pub type Site = BTreeMap<ServiceName, Proxied>;

/// Lines that begin so carry [`Edited`] as JSON, spread over them in order.
const MARK: &str = "# aibk: ";

const HEAD: &str = "\
# Written by aibkd, which replaces this file with every publish: do not edit it.
# What it says about upstreams belongs in aibk's configuration.
";

/// The path of the proof socket, known to mean nothing else in nginx's syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SocketPath<'a>(&'a str);

impl<'a> SocketPath<'a> {
    /// `sun_path` holds 108 bytes with its NUL (unix(7)).
    const LONGEST: usize = 107;

    /// Checks `path`.
    ///
    /// # Errors
    /// [`NginxError::Socket`] when it would need quoting, or is too long for a unix socket.
    pub(super) fn new(path: &'a Path) -> Result<Self, NginxError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@=,~".contains(c);
        let refused = |why: &str| NginxError::Socket {
            socket: path.to_owned(),
            why: format!("{why}; set `nginx.proof_socket` to another path"),
        };
        match path.to_str() {
            Some(text) if !text.starts_with('/') => Err(refused("it is not absolute")),
            Some(text) if text.len() > Self::LONGEST => Err(refused("it is longer than 107 bytes")),
            Some(text) if text.chars().all(plain) => Ok(Self(text)),
            _ => Err(refused("it has characters other than letters, digits and `/._-+@=,~`")),
        }
    }
}

/// What the file says beside upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places<'a> {
    /// Where nginx tells what it serves.
    pub(super) proof: SocketPath<'a>,
    /// Where it notes requests, if it does.
    pub(super) requests: Option<&'a Path>,
    /// How long it keeps idle connections at a reload, if it is to keep them.
    pub(super) spare_idle: Option<Duration>,
}

/// The whole file.
///
/// # Errors
/// When a service is not one of `site`, or nginx would refuse its members.
pub(super) fn render(
    edited: &Edited,
    site: &Site,
    places: Places<'_>,
) -> Result<String, NginxError> {
    let mut text = String::from(HEAD);
    let written = without_flags(edited, site);
    header(&mut text, &written);
    request_log(&mut text, places.requests);
    if let Some(spared) = places.spare_idle {
        line(&mut text, format_args!("{} {};", extras::DIRECTIVE, time(spared)));
    }
    for (service, members) in &written.upstreams {
        let proxied =
            site.get(service).ok_or_else(|| NginxError::UnknownService(service.clone()))?;
        check(service, members)?;
        upstreams(&mut text, proxied, members);
        text.push_str(&preview::server(proxied, members));
    }
    proof(&mut text, &written, places.proof);
    Ok(text)
}

/// The format is there even if nothing is logged: the site may name it.
fn request_log(text: &mut String, log: Option<&Path>) {
    let (name, format) = (requests::FORMAT_NAME, requests::FORMAT);
    line(text, format_args!("\nlog_format {name} '{format}';"));
    if let Some(log) = log {
        line(text, format_args!("{}", requests::directive(log)));
    }
}

/// What the header of `text` says; `None` when there is no such header.
///
/// # Errors
/// The JSON's mistake.
pub(super) fn read_back(text: &str) -> Option<serde_json::Result<Edited>> {
    let marked: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(MARK)).collect();
    (!marked.is_empty()).then(|| serde_json::from_str(&marked.concat()))
}

/// nginx counts only members that are no backup (`no servers are inside upstream`).
fn check(service: &ServiceName, members: &Members) -> Result<(), NginxError> {
    let stands = |role: &&Role| role.is_asked() || **role == Role::Down;
    let why = match members.values().find(stands) {
        Some(_) => return Ok(()),
        None if members.is_empty() => "no member",
        None => "only backup members",
    };
    Err(NginxError::NoMember { service: service.clone(), why })
}

fn header(text: &mut String, edited: &Edited) {
    line(text, format_args!("{MARK}{{\"edition\":{},\"upstreams\":{{", edited.edition.0));
    let last = edited.upstreams.len();
    for (n, (service, members)) in (1..).zip(&edited.upstreams) {
        let comma = if n == last { "" } else { "," };
        line(text, format_args!("{MARK}{}{comma}", entry(service, members)));
    }
    let last = edited.flips.len();
    if last > 0 {
        line(text, format_args!("{MARK}}},\"flips\":{{"));
    }
    for (n, (service, flag)) in (1..).zip(&edited.flips) {
        let comma = if n == last { "" } else { "," };
        line(text, format_args!("{MARK}{}{comma}", flip_entry(service, flag)));
    }
    line(text, format_args!("{MARK}}}}}"));
}

/// `"api":{"8000":"serving","8001":"backup"}`. Names and ports have no character that JSON or
/// nginx would take for anything else.
fn entry(service: &ServiceName, members: &Members) -> String {
    let members: Vec<String> =
        members.iter().map(|(port, role)| format!("\"{port}\":\"{role}\"")).collect();
    format!("\"{service}\":{{{}}}", members.join(","))
}

/// `"api":"/etc/nginx/conf.d/aibk-api"`.
fn flip_entry(service: &ServiceName, flag: &Flag) -> String {
    format!("\"{service}\":\"{}\"", flag.stem())
}

/// The members as they are without a flag, so that a turned flag changes no byte of the file.
fn without_flags(edited: &Edited, site: &Site) -> Edited {
    let flips = flips(&edited.upstreams, site);
    let mut written = Edited { flips, ..edited.clone() };
    for (service, members) in &mut written.upstreams {
        if let Some(Switch::Flip(flip)) = site.get(service).map(|proxied| &proxied.switch)
            && flip.colour(members) == Some(Colour::Green)
        {
            *members = exchanged(members);
        }
    }
    written
}

/// One upstream, or one for each colour: the same two where no flag says which.
fn upstreams(text: &mut String, proxied: &Proxied, members: &Members) {
    let name = &proxied.options.name;
    let Switch::Flip(flip) = &proxied.switch else {
        return upstream(text, name.as_str(), proxied, members);
    };
    let of_green = match flip.colour(members) {
        Some(_) => exchanged(members),
        None => members.clone(),
    };
    upstream(text, &colour_name(name, Colour::Blue), proxied, members);
    upstream(text, &colour_name(name, Colour::Green), proxied, &of_green);
}

/// `api_backend_blue`.
pub(super) fn colour_name(upstream: &ServiceName, colour: Colour) -> String {
    format!("{upstream}_{}", colour.as_str())
}

fn upstream(text: &mut String, name: &str, proxied: &Proxied, members: &Members) {
    let Proxied { options, host, .. } = proxied;
    line(text, format_args!("\nupstream {name} {{"));
    if let Some(kib) = options.zone_kib {
        line(text, format_args!("    zone {name} {kib}k;"));
    }
    if options.least_conn {
        line(text, format_args!("    least_conn;"));
    }
    for (port, role) in members {
        let role = match role {
            Role::Serving | Role::Canary(_) => weight(*role, members),
            Role::Backup => " backup".to_owned(),
            Role::Down => " down".to_owned(),
            Role::Preview => continue,
        };
        line(
            text,
            format_args!(
                "    server {} max_fails={} fail_timeout={}s{role};",
                address(*host, *port),
                options.max_fails,
                whole_seconds(options.fail_timeout),
            ),
        );
    }
    // After the balancer, which it wraps.
    if options.keepalive > 0 {
        line(text, format_args!("    keepalive {};", options.keepalive));
        line(text, format_args!("    keepalive_timeout {};", time(options.keepalive_timeout)));
    }
    line(text, format_args!("}}"));
}

/// So that a canary gets its part of the requests, and those that serve the rest, each as much as the
/// other. Without a canary all have the same, and it is not said.
fn weight(role: Role, members: &Members) -> String {
    let canary = members.values().find_map(|role| match role {
        Role::Canary(share) => Some(*share),
        _ => None,
    });
    let serving = members.values().filter(|role| **role == Role::Serving).count();
    match (role, canary) {
        (Role::Canary(share), _) => {
            format!(" weight={}", usize::from(share.percent()) * serving.max(1))
        }
        (_, Some(share)) => format!(" weight={}", share.rest().percent()),
        (_, None) => String::new(),
    }
}

/// nginx refuses a parameter of 4096 bytes or more, so the answer is put together from one
/// variable for each upstream.
fn proof(text: &mut String, edited: &Edited, socket: SocketPath<'_>) {
    line(text, format_args!("\nserver {{\n    listen unix:{};\n    access_log off;", socket.0));
    if edited.flips.is_empty() {
        text.push('\n');
    } else {
        // What it remembers of files would be old.
        line(text, format_args!("    open_file_cache off;\n"));
    }
    line(
        text,
        format_args!("    location = {PROOF_PATH} {{\n        default_type application/json;"),
    );
    let (mut answer, mut flips) = (Vec::new(), Vec::new());
    for (n, (service, members)) in (1..).zip(&edited.upstreams) {
        line(text, format_args!("        set $aibk_proof_{n} '{}';", entry(service, members)));
        answer.push(format!("$aibk_proof_{n}"));
        if let Some(flag) = edited.flips.get(service) {
            let green = entry(service, &exchanged(members));
            let condition = flag_test(flag);
            line(text, format_args!("        {condition} {{ set $aibk_proof_{n} '{green}'; }}"));
            let flip = flip_entry(service, flag);
            line(text, format_args!("        set $aibk_proof_{n}_flag '{flip}';"));
            flips.push(format!("$aibk_proof_{n}_flag"));
        }
    }
    let (edition, answer, flips) = (edited.edition.0, answer.join(","), flips.join(","));
    let flips = if flips.is_empty() { flips } else { format!(",\"flips\":{{{flips}}}") };
    line(
        text,
        format_args!(
            "        return 200 '{{\"edition\":{edition},\"upstreams\":{{{answer}}}{flips}}}';"
        ),
    );
    line(text, format_args!("    }}\n    location / {{\n        return 404;\n    }}\n}}"));
}

/// nginx's question whether the flag says green; the site asks the same.
pub(super) fn flag_test(flag: &Flag) -> String {
    format!("if (-f {})", flag.name(Colour::Green))
}

pub(super) fn address(host: IpAddr, port: Port) -> SocketAddr {
    SocketAddr::new(reached(host), port.get())
}

/// The address at which nginx reaches what listens on `host`.
#[must_use]
pub fn reached(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        one => one,
    }
}

/// `fail_timeout` knows no fractions; half a second must not become "never".
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Milliseconds where seconds do not say it; never zero, which would keep nothing.
fn time(time: Duration) -> String {
    match time.as_millis().max(1) {
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(content);
    text.push('\n');
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
