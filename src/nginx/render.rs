//! The owned file as text: pure, the same input gives the same bytes, and the text reads back.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use super::{Edited, Members, NginxError, PROOF_PATH, Role};
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

/// The whole file.
///
/// # Errors
/// When a service is not one of `site`, or nginx would refuse its members.
pub(super) fn render(
    edited: &Edited,
    site: &Site,
    socket: SocketPath<'_>,
) -> Result<String, NginxError> {
    let mut text = String::from(HEAD);
    header(&mut text, edited);
    for (service, members) in &edited.upstreams {
        let proxied =
            site.get(service).ok_or_else(|| NginxError::UnknownService(service.clone()))?;
        check(service, members)?;
        upstream(&mut text, proxied, members);
    }
    proof(&mut text, edited, socket);
    Ok(text)
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
    let why = match members.values().find(|role| **role != Role::Backup) {
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
    line(text, format_args!("{MARK}}}}}"));
}

/// `"api":{"8000":"serving","8001":"backup"}`. Names and ports have no character that JSON or
/// nginx would take for anything else.
fn entry(service: &ServiceName, members: &Members) -> String {
    let members: Vec<String> =
        members.iter().map(|(port, role)| format!("\"{port}\":\"{}\"", role.as_str())).collect();
    format!("\"{service}\":{{{}}}", members.join(","))
}

fn upstream(text: &mut String, Proxied { options, host }: &Proxied, members: &Members) {
    line(text, format_args!("\nupstream {} {{", options.name));
    if let Some(kib) = options.zone_kib {
        line(text, format_args!("    zone {} {kib}k;", options.name));
    }
    if options.least_conn {
        line(text, format_args!("    least_conn;"));
    }
    for (port, role) in members {
        let role = match role {
            Role::Serving => "",
            Role::Backup => " backup",
            Role::Down => " down",
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

/// nginx refuses a parameter of 4096 bytes or more, so the answer is put together from one
/// variable for each upstream.
fn proof(text: &mut String, edited: &Edited, socket: SocketPath<'_>) {
    line(text, format_args!("\nserver {{\n    listen unix:{};\n    access_log off;\n", socket.0));
    line(
        text,
        format_args!("    location = {PROOF_PATH} {{\n        default_type application/json;"),
    );
    let mut answer = Vec::new();
    for (n, (service, members)) in (1..).zip(&edited.upstreams) {
        line(text, format_args!("        set $aibk_proof_{n} '{}';", entry(service, members)));
        answer.push(format!("$aibk_proof_{n}"));
    }
    let (edition, answer) = (edited.edition.0, answer.join(","));
    line(
        text,
        format_args!("        return 200 '{{\"edition\":{edition},\"upstreams\":{{{answer}}}}}';"),
    );
    line(text, format_args!("    }}\n    location / {{\n        return 404;\n    }}\n}}"));
}

fn address(host: IpAddr, port: Port) -> SocketAddr {
    let host = match host {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        one => one,
    };
    SocketAddr::new(host, port.get())
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
