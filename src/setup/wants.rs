//! What a configuration needs on the host. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    plan::{Step, Want},
    site::{self, Front, Standing},
    written,
};
use crate::{
    api::types::NginxSnippet,
    config::{App, Config, LogsTo},
};

/// Where certificates are that setup makes.
const CERTIFICATES: &str = "/etc/ssl/aibk";

/// What is not in the configuration.
pub(super) struct Choice {
    pub(super) config_file: PathBuf,
    /// What the configuration is to be; `None`: it is there, and setup did not make it.
    pub(super) config_text: Option<String>,
    pub(super) server_name: String,
    /// The site of somebody else.
    pub(super) standing: Option<Standing>,
    /// There is a directory of sites that are enabled by a link.
    pub(super) has_sites: bool,
    pub(super) snippets: Vec<NginxSnippet>,
}

/// In the order in which they are made; and what is left to the operator.
pub(super) fn wants(config: &Config, choice: &Choice) -> (Vec<Want>, Vec<Step>) {
    let mut wants: Vec<Want> = config.control.group.iter().cloned().map(Want::Group).collect();
    for (name, home) in users(config) {
        wants.push(Want::User { name, home });
    }
    if let Some(parent) = choice.config_file.parent() {
        wants.push(Want::Directory { path: parent.to_owned(), owner: None, mode: 0o755 });
    }
    for app in config.apps.values() {
        let releases = App::usual_releases(&app.home);
        let places = [(app.home.clone(), 0o755), (releases, 0o755), (app.home.join("logs"), 0o750)];
        for (path, mode) in places {
            wants.push(Want::Directory { path, owner: app.user.clone(), mode });
        }
    }
    if let Some(text) = choice.config_text.clone() {
        // It may have secrets from a unit's Environment.
        let mode = if text.contains("\n    env:") { 0o600 } else { 0o644 };
        wants.push(Want::File { path: choice.config_file.clone(), mode, text });
    }
    wants.extend(rotation(config));
    let kept = match &choice.standing {
        None if choice.snippets.is_empty() => vec![],
        None => {
            wants.extend(front(config, choice));
            vec![]
        }
        Some(standing) => left(standing),
    };
    (wants, kept)
}

/// The names by which sites pass to services.
pub(super) fn upstreams(config: &Config) -> Vec<String> {
    let options = config.services.values().filter_map(|service| service.upstream.as_ref());
    options.map(|options| options.name.to_string()).collect()
}

/// Everybody who runs something, with a home.
fn users(config: &Config) -> BTreeMap<String, PathBuf> {
    let of_apps =
        config.apps.values().filter_map(|app| Some((app.user.clone()?, app.home.clone())));
    let mut users: BTreeMap<String, PathBuf> = of_apps.collect();
    for user in config.services.values().filter_map(|service| service.user.clone()) {
        let home = Path::new("/home").join(&user);
        users.entry(user).or_insert(home);
    }
    // A number names nobody who could be made.
    users.retain(|name, _| name != "root" && name.parse::<u32>().is_err());
    users
}

/// What the name of a site is.
fn title(config: &Config) -> String {
    let app = config.apps.keys().next().map(ToString::to_string);
    let user = || users(config).into_keys().next();
    let service = || config.services.keys().next().map(ToString::to_string);
    app.or_else(user).or_else(service).unwrap_or_else(|| "aibk".to_owned())
}

/// aibkd rotates what it writes itself; this is about what applications write beside that.
fn rotation(config: &Config) -> Option<Want> {
    let homes: BTreeSet<&Path> = config.apps.values().map(|app| app.home.as_path()).collect();
    if homes.is_empty() || config.logs.to != LogsTo::Files {
        return None;
    }
    let body: Vec<String> = config.apps.values().map(|app| rotated(app)).collect();
    let path = Path::new("/etc/logrotate.d").join(title(config));
    Some(Want::File { path, mode: 0o644, text: written::marked(&body.concat()) })
}

fn rotated(app: &App) -> String {
    let user = app.user.as_deref().unwrap_or("root");
    let group = app.group.as_deref().unwrap_or(user);
    format!(
        "{}/*.log {{\n    su {user} {group}\n    daily\n    rotate 14\n    compress\n    \
         delaycompress\n    missingok\n    notifempty\n    copytruncate\n}}\n",
        app.home.join("logs").display()
    )
}

/// A site, and the certificate that it needs.
fn front(config: &Config, choice: &Choice) -> Vec<Want> {
    let title = title(config);
    let place = Path::new(CERTIFICATES);
    let [certificate, key] = ["crt", "key"].map(|kind| place.join(format!("{title}.{kind}")));
    // The application's first service is the one that the site is about.
    let first = config.apps.values().next().and_then(|app| app.services.first());
    let first = first.map_or_else(|| "api".to_owned(), ToString::to_string);
    let mut snippets = choice.snippets.clone();
    snippets.sort_by_key(|snippet| snippet.service != first);
    let name = choice.server_name.clone();
    let text = site::text(&Front {
        name: &name,
        certificate: certificate.clone(),
        key: key.clone(),
        snippets: &snippets,
    });
    let file = format!("{title}.conf");
    let mut wants = vec![
        Want::Directory { path: place.to_owned(), owner: None, mode: 0o755 },
        Want::Certificate { certificate, key, name },
    ];
    if choice.has_sites {
        let path = Path::new("/etc/nginx/sites-available").join(&file);
        wants.push(Want::File { path: path.clone(), mode: 0o644, text });
        wants
            .push(Want::Link { path: Path::new("/etc/nginx/sites-enabled").join(&file), to: path });
    } else {
        let path = Path::new("/etc/nginx/conf.d").join(&file);
        wants.push(Want::File { path, mode: 0o644, text });
    }
    wants
}

fn left(standing: &Standing) -> Vec<Step> {
    let path = standing.path.display();
    let Some(clash) = &standing.clash else {
        return vec![Step::Done { what: format!("site {path}, which passes to the services") }];
    };
    vec![Step::Kept {
        what: format!("site {path}, which has an `upstream {clash}` of its own"),
        diff: vec![],
        next: "remove that upstream and its proxy_next_upstream, and write the lines of `aibkctl \
               nginx snippet SERVICE --config FILE` in its place; reload nginx only after aibkd \
               has started"
            .to_owned(),
    }]
}
