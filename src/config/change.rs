//! What differs between two configurations, and what each difference needs to take hold. Pure.

use std::collections::BTreeMap;

use super::{App, Asgi, Code, Config, Control, Kind, Service};
use crate::{
    ident::{AppName, ServiceName},
    sys::confine::Confinement,
};

/// What a difference needs to take hold; each includes what stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Nothing: it is read whenever it is needed, or the kernel takes it for what runs.
    Nothing,
    /// nginx's file says it.
    Publish,
    /// A new process: it is part of what is started, or where.
    Start,
    /// No old process beside a new one: nginx can reach only one of the two.
    Gap,
}

/// A key of a service whose value differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// As it stands in the file; of a section that is read as a whole, the section's.
    pub name: &'static str,
    /// What it needs.
    pub needs: Needs,
}

/// How a service differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// These of its keys differ; never none.
    Changed(Vec<Key>),
}

impl Difference {
    /// The most that any of it needs; of a service that came or went, what nginx's file needs.
    #[must_use]
    pub fn needs(&self) -> Needs {
        match self {
            Self::Added | Self::Removed => Needs::Publish,
            Self::Changed(keys) => keys.iter().map(|key| key.needs).max().unwrap_or(Needs::Nothing),
        }
    }
}

/// How two configurations differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that hold for as long as a daemon runs.
    pub fixed: Vec<&'static str>,
    /// Services that are not the same.
    pub services: BTreeMap<ServiceName, Difference>,
    /// Jobs that are not the same. Whatever it is, it holds from the next run on.
    pub jobs: BTreeMap<ServiceName, Difference>,
    /// Applications that are not the same. They are read whenever they are needed.
    pub apps: BTreeMap<AppName, Difference>,
}

impl Changes {
    /// What leads from `old` to `new`.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let removed = old.services.keys().filter(|name| !new.services.contains_key(name));
        let removed = removed.map(|name| (name.clone(), Difference::Removed));
        let kept = new.services.iter().filter_map(|(name, now)| {
            let difference = match old.services.get(name) {
                None => Difference::Added,
                Some(was) => Difference::Changed(keys(was, now)),
            };
            (difference != Difference::Changed(vec![])).then(|| (name.clone(), difference))
        });
        let is_job = |(name, _): &(ServiceName, Difference)| {
            [old, new].iter().any(|config| job_of(config, name).is_some_and(|is_job| is_job))
        };
        let (jobs, services) = removed.chain(kept).partition(is_job);
        Self { fixed: fixed(old, new), services, jobs, apps: apps(old, new) }
    }

    /// Nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { fixed, services, jobs, apps } = self;
        fixed.is_empty() && services.is_empty() && jobs.is_empty() && apps.is_empty()
    }
}

fn apps(old: &Config, new: &Config) -> BTreeMap<AppName, Difference> {
    let removed = old.apps.keys().filter(|name| !new.apps.contains_key(name));
    let removed = removed.map(|name| (name.clone(), Difference::Removed));
    let kept = new.apps.iter().filter_map(|(name, now)| match old.apps.get(name) {
        None => Some((name.clone(), Difference::Added)),
        Some(was) if was == now => None,
        Some(was) => Some((name.clone(), Difference::Changed(of_app(was, now)))),
    });
    removed.chain(kept).collect()
}

/// Whoever gives an application another field says here how it is called.
fn of_app(old: &App, new: &App) -> Vec<Key> {
    let App {
        name: _,
        home,
        user,
        group,
        env_file,
        services,
        roll_out,
        code,
        database,
        backup,
        migrate,
    } = old;
    let Code { origin, releases, keep, python, shared, hooks, deadlines } = code;
    differing([
        ("home", *home != new.home, Needs::Nothing),
        ("user", *user != new.user, Needs::Nothing),
        ("group", *group != new.group, Needs::Nothing),
        ("env_file", *env_file != new.env_file, Needs::Nothing),
        ("services", *services != new.services, Needs::Nothing),
        ("roll_out", *roll_out != new.roll_out, Needs::Nothing),
        ("source", *origin != new.code.origin, Needs::Nothing),
        ("releases", *releases != new.code.releases, Needs::Nothing),
        ("keep", *keep != new.code.keep, Needs::Nothing),
        ("python", *python != new.code.python, Needs::Nothing),
        ("shared", *shared != new.code.shared, Needs::Nothing),
        ("hooks", *hooks != new.code.hooks, Needs::Nothing),
        ("deadlines", *deadlines != new.code.deadlines, Needs::Nothing),
        ("database", *database != new.database, Needs::Nothing),
        ("backup", *backup != new.backup, Needs::Nothing),
        ("migrate", *migrate != new.migrate, Needs::Nothing),
    ])
    .collect()
}

/// A difference in any of these is one between two daemons.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let Config { runtime_dir, state_dir, log_dir, logs, control, nginx, services: _, apps: _ } =
        old;
    let Control { socket, group, grants } = control;
    let all = [
        ("runtime_dir", *runtime_dir != new.runtime_dir),
        ("state_dir", *state_dir != new.state_dir),
        ("log_dir", *log_dir != new.log_dir),
        ("logs", *logs != new.logs),
        ("control.socket", *socket != new.control.socket),
        ("control.group", *group != new.control.group),
        ("control.grants", *grants != new.control.grants),
        ("nginx", *nginx != new.nginx),
        ("services.*.job", becomes_a_job(old, new)),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Whether `name` is a job, where there is one.
fn job_of(config: &Config, name: &ServiceName) -> Option<bool> {
    config.services.get(name).map(|service| service.job.is_some())
}

/// What is kept running and what runs to its end are looked after by different tasks.
fn becomes_a_job(old: &Config, new: &Config) -> bool {
    let differs = |name| job_of(new, name).is_some_and(|now| Some(now) != job_of(old, name));
    old.services.keys().any(differs)
}

/// Whoever gives a service another field decides here what a change of it needs. What a driver, a
/// rollout or nginx's file reads anew each time needs no start.
fn keys(old: &Service, new: &Service) -> Vec<Key> {
    let Service {
        name: _,
        kind,
        slots,
        directory,
        user,
        group,
        confinement,
        env,
        env_file,
        job,
        depends,
        startup,
        ready,
        live,
        stop,
        restart,
        reload,
        drain,
        rollout,
        clears,
        upstream,
    } = old;
    let mut keys = of_kind(kind, &new.kind, old.upstream.is_some() && new.upstream.is_some());
    let all = [
        ("slots", *slots != new.slots, Needs::Start),
        ("directory", *directory != new.directory, Needs::Start),
        ("user", *user != new.user, Needs::Start),
        ("group", *group != new.group, Needs::Start),
        ("env", *env != new.env, Needs::Start),
        ("env_file", *env_file != new.env_file, Needs::Start),
        ("job", *job != new.job, Needs::Start),
        ("after", depends.after != new.depends.after, Needs::Nothing),
        ("requires", depends.requires != new.depends.requires, Needs::Nothing),
        ("startup", *startup != new.startup, Needs::Nothing),
        ("ready", *ready != new.ready, Needs::Nothing),
        ("live", *live != new.live, Needs::Nothing),
        ("stop", *stop != new.stop, Needs::Nothing),
        ("restart", *restart != new.restart, Needs::Nothing),
        ("reload", *reload != new.reload, Needs::Nothing),
        // uvicorn's own last resort keeps the old length until its next start.
        ("drain", *drain != new.drain, Needs::Nothing),
        ("rollout", *rollout != new.rollout, Needs::Nothing),
        ("clears", *clears != new.clears, Needs::Start),
        ("upstream", *upstream != new.upstream, Needs::Publish),
    ];
    keys.extend(differing(all));
    keys.extend(of_confinement(confinement, &new.confinement));
    keys
}

fn of_confinement(old: &Confinement, new: &Confinement) -> impl Iterator<Item = Key> {
    let Confinement { umask, nice, limits, sandbox, on_refusal } = old;
    differing([
        ("umask", *umask != new.umask, Needs::Start),
        ("nice", *nice != new.nice, Needs::Nothing),
        ("limits", *limits != new.limits, Needs::Nothing),
        ("sandbox", *sandbox != new.sandbox, Needs::Start),
        ("on_refusal", *on_refusal != new.on_refusal, Needs::Nothing),
    ])
}

fn of_kind(old: &Kind, new: &Kind, behind_nginx: bool) -> Vec<Key> {
    let (old, new) = match (old, new) {
        (Kind::Asgi(old), Kind::Asgi(new)) => (old, new),
        (Kind::Command(old), Kind::Command(new)) => {
            return differing([("command", old != new, Needs::Start)]).collect();
        }
        (Kind::Asgi(_), Kind::Command(_)) => {
            return vec![Key { name: "command", needs: Needs::Gap }];
        }
        (Kind::Command(_), Kind::Asgi(_)) => return vec![Key { name: "app", needs: Needs::Gap }],
    };
    let Asgi { app, venv, host, socket, workers, event_loop, http, args } = &**old;
    let moved = if behind_nginx { Needs::Gap } else { Needs::Start };
    let all = [
        ("app", *app != new.app, Needs::Start),
        ("venv", *venv != new.venv, Needs::Start),
        ("host", *host != new.host, moved),
        ("socket", *socket != new.socket, Needs::Start),
        ("workers", *workers != new.workers, Needs::Start),
        ("loop", *event_loop != new.event_loop, Needs::Start),
        ("http", *http != new.http, Needs::Start),
        ("args", *args != new.args, Needs::Start),
    ];
    differing(all).collect()
}

fn differing<const N: usize>(
    all: [(&'static str, bool, Needs); N],
) -> impl Iterator<Item = Key> + use<N> {
    let differing = all.into_iter().filter(|(_, differs, _)| *differs);
    differing.map(|(name, _, needs)| Key { name, needs })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = "
nginx: {}
services:
  api: {app: 'main:app', directory: /srv/api, slots: [8000, 8001]}
  worker: {command: [./work], directory: /srv/api}
";

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("/etc/aibk/aibk.yaml")).unwrap()
    }

    /// `TEXT` with `from` replaced.
    fn edited(from: &str, to: &str) -> Changes {
        assert!(TEXT.contains(from), "{from}");
        Changes::between(&parse(TEXT), &parse(&TEXT.replace(from, to)))
    }

    fn only(changes: &Changes, service: &str) -> Vec<(&'static str, Needs)> {
        assert_eq!((changes.fixed.len(), changes.services.len()), (0, 1), "{changes:?}");
        assert!(changes.jobs.is_empty(), "{changes:?}");
        match &changes.services[&ServiceName::new(service).unwrap()] {
            Difference::Changed(keys) => keys.iter().map(|key| (key.name, key.needs)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_in_other_words_is_no_change() {
        let other = TEXT.replace("8001]", "8001], ready: {interval: 5000ms}");
        assert!(Changes::between(&parse(TEXT), &parse(&other)).is_empty());
    }

    #[test]
    fn each_key_needs_what_its_reader_needs() {
        let api = |added: &str| {
            only(&edited("slots: [8000, 8001]", &format!("slots: [8000, 8001], {added}")), "api")
        };
        for (added, name, needs) in [
            ("socket: held", "socket", Needs::Start),
            ("workers: 2", "workers", Needs::Start),
            ("upstream: {switch: flip}", "upstream", Needs::Publish),
            ("args: [--proxy-headers]", "args", Needs::Start),
            ("env: {A: b}", "env", Needs::Start),
            ("env_file: .env", "env_file", Needs::Start),
            ("user: web", "user", Needs::Start),
            ("umask: 0077", "umask", Needs::Start),
            ("nice: 5", "nice", Needs::Nothing),
            ("limits: {core: 0}", "limits", Needs::Nothing),
            ("sandbox: {private_tmp: true}", "sandbox", Needs::Start),
            ("on_refusal: warn", "on_refusal", Needs::Nothing),
            ("host: 127.0.0.2", "host", Needs::Gap),
            ("host: 127.0.0.2, upstream: none", "host", Needs::Start),
            ("startup: {interval: 1s}", "startup", Needs::Nothing),
            ("ready: {interval: 1s}", "ready", Needs::Nothing),
            ("live: none", "live", Needs::Nothing),
            ("restart: {limit: 9}", "restart", Needs::Nothing),
            ("drain: {deadline: 5s}", "drain", Needs::Nothing),
            ("stop: {deadline: 2m}", "stop", Needs::Nothing),
            ("rollout: {watch: 1s}", "rollout", Needs::Nothing),
            ("upstream: {keepalive: 8}", "upstream", Needs::Publish),
        ] {
            assert!(api(added).contains(&(name, needs)), "{added}: {:?}", api(added));
        }
        assert_eq!(only(&edited("8001]", "8002]"), "api"), [("slots", Needs::Start)]);
        assert_eq!(only(&edited("./work", "./run"), "worker"), [("command", Needs::Start)]);
    }

    #[test]
    fn services_come_and_go() {
        let changes = edited("worker:", "mailer:");
        let told: Vec<_> = changes.services.iter().map(|(name, d)| (name.as_str(), d)).collect();
        assert_eq!(told, [("mailer", &Difference::Added), ("worker", &Difference::Removed)]);
    }

    #[test]
    fn jobs_come_and_go_apart_from_services() {
        let with = |jobs: &str| parse(&format!("{TEXT}{jobs}"));
        let job = "  backup: {command: [./save], directory: /srv/api, job: {timeout: 1m}}\n";
        let (without, before) = (with(""), with(job));
        let after = with(&job.replace("1m", "2m"));
        let names = |old: &Config, new: &Config| {
            let changes = Changes::between(old, new);
            assert!(changes.services.is_empty() && changes.fixed.is_empty(), "{changes:?}");
            changes.jobs.into_values().collect::<Vec<_>>()
        };
        assert_eq!(names(&without, &before), [Difference::Added]);
        assert_eq!(names(&before, &without), [Difference::Removed]);
        let job_only = Key { name: "job", needs: Needs::Start };
        assert_eq!(names(&before, &after), [Difference::Changed(vec![job_only])]);
        let kept = with(&job.replace(", job: {timeout: 1m}", ""));
        assert_eq!(Changes::between(&kept, &before).fixed, ["services.*.job"]);
    }

    #[test]
    fn applications_come_go_and_change_apart_from_services() {
        let with = |app: &str| parse(&format!("{TEXT}apps: {{{app}}}\n"));
        let told = |old: &str, new: &str| {
            let changes = Changes::between(&with(old), &with(new));
            assert!(changes.services.is_empty() && changes.fixed.is_empty(), "{changes:?}");
            changes.apps.into_values().collect::<Vec<_>>()
        };
        let app = "ledger: {services: [api], database: {name: ledger}}";
        assert_eq!(told("", app), [Difference::Added]);
        assert_eq!(told(app, ""), [Difference::Removed]);
        assert_eq!(told(app, app), []);
        let key = |name| Key { name, needs: Needs::Nothing };
        let keys = |new: &str| told(app, new);
        assert_eq!(
            keys("ledger: {services: [worker], database: {name: other}}"),
            [Difference::Changed(vec![key("services"), key("database")])]
        );
        assert_eq!(
            keys("ledger: {services: [api], database: {name: ledger}, backup: {deadline: 1s}}"),
            [Difference::Changed(vec![key("backup")])]
        );
    }

    #[test]
    fn what_the_daemon_itself_stands_on_is_told_apart() {
        let with = |line: &str| Changes::between(&parse(TEXT), &parse(&format!("{line}{TEXT}")));
        assert_eq!(with("state_dir: /x").fixed, ["state_dir"]);
        assert_eq!(with("control: {grants: {web: read}}").fixed, ["control.grants"]);
        assert_eq!(edited("nginx: {}", "nginx: {prefix: /x}").fixed, ["nginx"]);
    }
}
