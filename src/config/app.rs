//! `apps`: what is deployed as one, and where its data is.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Backup, Code, Database, Migrate, Service, backup, claims::Claims, code, database, migrate,
    mistake::Wrong, scalar, section::Section,
};
use crate::ident::{AppName, ServiceName};

/// An application: services of the same code, deployed as one.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// What else it has lies here, where nothing else is said.
    pub home: PathBuf,
    /// Who runs what is run for it: builds, migrations, dumps; `None`: the daemon's own user.
    pub user: Option<String>,
    /// Its group; `None`: the user's own.
    pub group: Option<String>,
    /// A dotenv file, read afresh whenever it is needed.
    pub env_file: Option<PathBuf>,
    /// Its services, in the order in which they are rolled; never none.
    pub services: Vec<ServiceName>,
    /// How its releases are made.
    pub code: Code,
    /// Its database, if aibk is to know it.
    pub database: Option<Database>,
    /// How that is saved: there is one whenever there is a database.
    pub backup: Option<Backup>,
    /// How its services with two slots get a release.
    pub roll_out: RollOut,
    /// How its schema is migrated.
    pub migrate: Option<Migrate>,
}

/// How a service with two slots gets a release; one with a single slot is rolled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RollOut {
    /// By a rolling update.
    #[default]
    Rolling,
    /// By a swap: the old release stays warm for `rollout.keep_old`.
    Swap,
}

impl App {
    /// Where releases of an application at `home` lie, where nothing else is said.
    #[must_use]
    pub fn usual_releases(home: &Path) -> PathBuf {
        home.join("releases")
    }
}

const ROLL_OUTS: &[(&str, RollOut)] = &[("rolling", RollOut::Rolling), ("swap", RollOut::Swap)];

/// Reads `apps`.
pub(super) fn apps(
    s: &mut Section<'_>,
    services: &BTreeMap<ServiceName, Arc<Service>>,
) -> BTreeMap<AppName, Arc<App>> {
    let mut apps = BTreeMap::new();
    let claims = Claims::default();
    for entry in s.entries("apps") {
        let name = entry.0.name.parse::<AppName>();
        let reader = Reader { name: name.as_ref().ok(), services, claims: &claims };
        let app = s.named("apps", entry, |s| reader.app(s));
        match (name, app) {
            (Err(error), _) => s.complain_at(entry.0.at, "apps", Wrong::new(error.to_string())),
            (Ok(name), Some(app)) => drop(apps.insert(name, Arc::new(app))),
            (Ok(_), None) => {}
        }
    }
    apps
}

/// Reads one application, knowing the services and the applications before it.
struct Reader<'r> {
    name: Option<&'r AppName>,
    services: &'r BTreeMap<ServiceName, Arc<Service>>,
    claims: &'r Claims,
}

impl Reader<'_> {
    fn app(&self, s: &mut Section<'_>) -> Option<App> {
        let usual = Path::new("/srv").join(self.name.map_or("app", AppName::as_str));
        let home = s.path_at("home").unwrap_or(usual);
        let env_file = s.get("env_file", scalar::path).map(|file| home.join(file));
        let services = self.services(s);
        let database = s
            .has("database")
            .then(|| s.section("database", |s| database::database(s, env_file.is_some())))
            .flatten();
        if s.has("backup") && !s.has("database") {
            let wrong = Wrong::new("there is no `database` to save");
            s.complain("backup", wrong.instead("describe the application's `database`"));
        }
        if s.has("migrate") && !s.has("database") {
            let wrong = Wrong::new("there is no `database` to migrate");
            s.complain("migrate", wrong.instead("describe the application's `database`"));
        }
        let migrate = s.has("migrate").then(|| s.section("migrate", migrate::migrate)).flatten();
        let backup = s.section("backup", |s| backup::backup(s, &home));
        let code = code::code(s, &home, env_file.is_some());
        self.keep_apart(s, &code.releases, &backup.directory);
        Some(App {
            name: self.name?.clone(),
            roll_out: s.or("roll_out", RollOut::Rolling, scalar::one_of(ROLL_OUTS)),
            user: s.get("user", scalar::account),
            group: s.get("group", scalar::account),
            services,
            code,
            backup: database.is_some().then_some(backup),
            home,
            env_file,
            database,
            migrate,
        })
    }

    fn services(&self, s: &mut Section<'_>) -> Vec<ServiceName> {
        if !s.has("services") {
            s.missing("services");
        }
        let named = s.list("services", scalar::service_name).unwrap_or_default();
        if named.is_empty() && s.has("services") && s.sound() {
            let wrong = Wrong::new("names no service").instead("name those that run its code");
            s.complain("services", wrong);
        }
        let known: BTreeSet<&str> = self.services.keys().map(ServiceName::as_str).collect();
        let owner = self.name.map_or("another application", AppName::as_str);
        for (at, name) in &named {
            if !known.contains(name.as_str()) {
                let wrong = Wrong::new(format!("there is no service `{name}`"));
                s.complain_at(*at, "services", wrong.like(name.as_str(), known.iter().copied()));
            } else if let Err(wrong) = self.claims.claim(format!("service {name}"), owner, *at) {
                s.complain_at(*at, "services", wrong.instead("name it once"));
            }
        }
        named.into_iter().map(|(_, name)| name).collect()
    }

    /// `D2`: what is removed with a release must not take a dump with it.
    fn keep_apart(&self, s: &mut Section<'_>, releases: &Path, backups: &Path) {
        let code = self.services.values().map(|service| service.directory.clone());
        if let Some(over) = code.chain([releases.to_owned()]).find(|over| backups.starts_with(over))
        {
            let what = format!("{} lies within code ({})", backups.display(), over.display());
            let at = s.node("backup").map_or_else(|| s.at(), |node| node.at);
            let wrong = Wrong::new(what).instead("choose a directory outside every release");
            s.complain_at(at, "backup.directory", wrong);
        }
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
