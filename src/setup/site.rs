//! The site in front of the services. Pure.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use super::written;
use crate::api::types::NginxSnippet;

/// What is written into a site.
pub(super) struct Front<'a> {
    /// `server_name`.
    pub(super) name: &'a str,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// The lines of each service; the first one gets `/`.
    pub(super) snippets: &'a [NginxSnippet],
}

/// Its text.
pub(super) fn text(front: &Front<'_>) -> String {
    let Front { name, certificate, key, snippets } = front;
    let mut text = String::new();
    if let Some(first) = snippets.first() {
        text.push_str(&(first.http.join("\n") + "\n"));
    }
    let _ = write!(
        text,
        "server {{\n    listen 80;\n    server_name {name};\n    \
         return 301 https://$host$request_uri;\n}}\n\
         server {{\n    listen 443 ssl;\n    server_name {name};\n    \
         ssl_certificate {};\n    ssl_certificate_key {};\n    \
         client_max_body_size 20m;\n",
        certificate.display(),
        key.display(),
    );
    for line in snippets.iter().flat_map(|snippet| &snippet.server) {
        // One that flips needs this, and it may stand there only once.
        if !text.contains(line) {
            let _ = writeln!(text, "    {line}");
        }
    }
    for (at, snippet) in snippets.iter().enumerate() {
        let place = if at == 0 { "/".to_owned() } else { format!("/{}/", snippet.service) };
        let _ = writeln!(text, "    location {place} {{");
        for line in &snippet.location {
            let _ = writeln!(text, "        {line}");
        }
        let _ = writeln!(
            text,
            "        proxy_set_header X-Real-IP $remote_addr;\n        \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n        \
             proxy_set_header X-Forwarded-Proto $scheme;\n    }}"
        );
    }
    written::marked(&(text + "}\n"))
}

/// The site of somebody else that stands in front of the services already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) path: PathBuf,
    /// The upstream of its own that would clash with ours.
    pub(super) clash: Option<String>,
}

/// Whether one of `sites`, by path, is in front of one of `upstreams`.
pub(super) fn standing(
    sites: &BTreeMap<PathBuf, String>,
    upstreams: &[String],
) -> Option<Standing> {
    let others = sites.iter().filter(|(_, text)| !written::is_marked(text));
    let of = |(path, text): (&PathBuf, &String)| {
        let bare: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let clash = upstreams.iter().find(|name| {
            bare.contains(&format!("upstream {name} {{"))
                || bare.contains(&format!("upstream {name}{{"))
        });
        let passes =
            upstreams.iter().any(|name| bare.contains(&format!("proxy_pass http://{name}")));
        (clash.is_some() || passes).then(|| Standing { path: path.clone(), clash: clash.cloned() })
    };
    others.filter_map(of).max_by_key(|standing| standing.clash.is_some())
}

/// The name that sites give the upstream of each port on this host.
pub(super) fn upstreams(sites: &BTreeMap<PathBuf, String>) -> BTreeMap<u16, String> {
    let mut found = BTreeMap::new();
    for text in sites.values() {
        let mut name: Option<String> = None;
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("upstream ") {
                name = rest.split(['{', ' ']).next().map(str::to_owned);
            } else if line.starts_with('}') {
                name = None;
            } else if let (Some(name), Some(rest)) = (&name, line.strip_prefix("server ")) {
                let address = rest.split([' ', ';']).next().unwrap_or_default();
                let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
                found.extend(port.map(|port| (port, name.clone())));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(text: &str) -> BTreeMap<PathBuf, String> {
        [("/s".into(), text.to_owned())].into()
    }

    #[test]
    fn a_site_of_somebody_else_is_known() {
        let own = "upstream api_backend {\n  server 127.0.0.1:8000 max_fails=3;\n  \
                   server 127.0.0.1:8001 backup;\n}\nserver { proxy_pass http://api_backend; }\n";
        let names = ["api_backend".to_owned()];
        let found = standing(&sites(own), &names).unwrap();
        assert_eq!(found.clash.as_deref(), Some("api_backend"));
        let passing = standing(&sites("location / { proxy_pass http://api_backend; }"), &names);
        assert_eq!(passing.unwrap().clash, None);
        assert_eq!(standing(&sites("server { return 404; }"), &names), None);
        assert_eq!(standing(&sites(&written::marked(own)), &names), None, "our own");
        let by_port = upstreams(&sites(own));
        assert_eq!(by_port.keys().copied().collect::<Vec<_>>(), [8000, 8001]);
        assert_eq!(by_port[&8001], "api_backend");
    }
}
