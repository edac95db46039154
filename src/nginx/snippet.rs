//! The lines that a site needs for a service, and whether nginx's configuration has them. Pure.

use std::{fmt, path::Path};

use super::{
    Proxied, Site, Switch,
    flip::{Colour, Flip},
    render::{colour_name, flag_test},
    requests::{directive, logs_apart},
};
use crate::{config::flip_variable, ident::ServiceName};

/// The lines that a site needs, by the block in which they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// In `http`, once, beside the server.
    pub http: Vec<String>,
    /// In the `server`.
    pub server: Vec<String>,
    /// In each `location` that passes to the service.
    pub location: Vec<String>,
    /// In each `server` or `location` that has an `access_log` of its own, beside that.
    pub log: Vec<String>,
}

impl Snippet {
    /// For `service`, which stands behind nginx as `proxied`; its requests are noted in `log`.
    #[must_use]
    pub fn of(service: &ServiceName, proxied: &Proxied, log: Option<&Path>) -> Self {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let mut location = vec![format!("proxy_pass {};", target(service, proxied))];
        location.extend::<Vec<String>>(lines(&[
            "proxy_http_version 1.1;",
            "proxy_set_header Host $host;",
            "proxy_set_header Upgrade $http_upgrade;",
            "proxy_set_header Connection $connection_upgrade;",
            "proxy_next_upstream error timeout;",
            "proxy_connect_timeout 2s;",
            "lingering_close always;",
        ]));
        Self {
            http: lines(&[
                "map $http_upgrade $connection_upgrade {",
                "    default upgrade;",
                "    ''      '';",
                "}",
            ]),
            server: match &proxied.switch {
                Switch::Flip(flip) => choice(service, flip).to_vec(),
                Switch::Reload => vec![],
            },
            location,
            log: log.map(directive).into_iter().collect(),
        }
    }
}

/// What chooses the colour of a request.
fn choice(service: &ServiceName, flip: &Flip) -> [String; 3] {
    let variable = flip_variable(service);
    let [blue, green] = [Colour::Blue, Colour::Green].map(Colour::as_str);
    let condition = flag_test(&flip.flag);
    [
        // What nginx remembers of files would be old.
        "open_file_cache off;".to_owned(),
        format!("set {variable} {blue};"),
        format!("{condition} {{ set {variable} {green}; }}"),
    ]
}

/// `http://api_backend`, or `http://api_backend_$aibk_api`.
fn target(service: &ServiceName, proxied: &Proxied) -> String {
    let name = &proxied.options.name;
    match proxied.switch {
        Switch::Reload => format!("http://{name}"),
        Switch::Flip(_) => format!("http://{name}_{}", flip_variable(service)),
    }
}

/// What nginx's configuration lacks for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Which service.
    pub service: ServiceName,
    /// What.
    pub what: Lacking,
}

/// What a configuration lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// Nothing passes requests to it, as far as that is seen.
    Pass,
    /// Nothing asks for its flag: a flip would change nothing.
    Choice,
    /// It passes to a colour, and there are none any more.
    Colour,
    /// nginx remembers which files there are.
    FreshLook,
    /// It is passed to where another log is kept, so that its requests are not counted.
    Log,
}

impl Lacking {
    /// Requests would be lost, or go where nobody expects them.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        matches!(self, Self::Choice | Self::Colour)
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = &self.service;
        match self.what {
            Lacking::Pass => write!(f, "nothing in nginx's configuration passes requests to it")?,
            Lacking::Choice => write!(
                f,
                "nothing in nginx's configuration asks for the flag of {service}, so that a flip \
                 would change nothing"
            )?,
            Lacking::Colour => write!(
                f,
                "nginx's configuration passes to a colour of {service}, which does not flip"
            )?,
            Lacking::FreshLook => {
                write!(f, "`open_file_cache` is on where nginx looks for the flag of {service}")?;
            }
            Lacking::Log => write!(
                f,
                "nginx passes requests to it where an `access_log` of the site stands without that \
                 of aibk, so that they are not counted"
            )?,
        }
        write!(f, "; `aibkctl nginx snippet {service}` shows the lines")
    }
}

/// What `dump`, as `nginx -T` prints it, lacks for the services of `site`. `own` is our file, `log`
/// where it lets nginx note requests.
#[must_use]
pub(super) fn lacks(dump: &str, own: &Path, site: &Site, log: Option<&Path>) -> Vec<Lack> {
    let text = without_form(dump, own);
    let found = |(service, proxied): (&ServiceName, &Proxied)| {
        let lack = |what| Lack { service: service.clone(), what };
        let passing = bare(&format!("proxy_pass {}", target(service, proxied)));
        let mut found = lacking(&text, service, proxied);
        if log.is_some() && logs_apart(&text, &passing) {
            found.push(Lacking::Log);
        }
        found.into_iter().map(lack).collect::<Vec<_>>()
    };
    site.iter().flat_map(found).collect()
}

fn lacking(text: &str, service: &ServiceName, proxied: &Proxied) -> Vec<Lacking> {
    let has = |line: &str| text.contains(&bare(line));
    let target = target(service, proxied);
    let passes = [";", "/"].iter().any(|end| has(&format!("proxy_pass {target}{end}")));
    let mut lacking = vec![];
    match &proxied.switch {
        Switch::Reload => {
            let colours = [Colour::Blue, Colour::Green];
            let names = colours.map(|colour| colour_name(&proxied.options.name, colour));
            let by_variable = format!("{}_{}", proxied.options.name, flip_variable(service));
            if names.iter().any(|name| has(&format!("http://{name};"))) || has(&by_variable) {
                lacking.push(Lacking::Colour);
            }
        }
        Switch::Flip(flip) => {
            let [fresh, set, _] = choice(service, flip);
            if !has(&flag_test(&flip.flag)) {
                lacking.push(Lacking::Choice);
            } else if has("open_file_cache max") && !has(&format!("{fresh}{set}")) {
                lacking.push(Lacking::FreshLook);
            }
        }
    }
    if !passes {
        lacking.push(Lacking::Pass);
    }
    lacking
}

/// The configuration without comments, white space, quotes, and our own file.
fn without_form(dump: &str, own: &Path) -> String {
    let mark = "# configuration file ";
    let mut is_ours = false;
    let mut text = String::with_capacity(dump.len());
    for line in dump.lines() {
        if let Some(path) = line.strip_prefix(mark) {
            is_ours = Path::new(path.trim_end_matches(':')) == own;
        }
        let line = line.trim_start();
        if !is_ours && !line.starts_with('#') {
            text.push_str(&bare(line.split(" #").next().unwrap_or(line)));
        }
    }
    text
}

/// `${name}` is `$name`.
fn bare(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut in_name = false;
    for c in text.chars() {
        match c {
            '{' if bare.ends_with('$') => in_name = true,
            '}' if in_name => in_name = false,
            '"' | '\'' => {}
            c if c.is_whitespace() => {}
            c => bare.push(c),
        }
    }
    bare
}

#[cfg(test)]
#[path = "snippet_tests.rs"]
mod tests;
