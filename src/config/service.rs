//! One entry of `services`.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Drain, Kind, Nginx, NginxMode, OnDeadline, RolloutPolicy, Secret, Service, Slots, Standby,
    Stop, StopSignal, Websocket, asgi,
    canary::{self, Front, Grounds},
    claims::Claims,
    depends::Wishes,
    health::{self, Around},
    job, judge,
    mistake::Wrong,
    reload, restart, sandbox,
    scalar::{self, some_time},
    section::Section,
    tree::{Node, Value},
    upstream,
};
use crate::ident::{Port, ServiceName};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Reads one service, knowing what stands around it.
pub(super) struct Reader<'r> {
    /// Its name, if that is a name.
    pub(super) name: Option<&'r ServiceName>,
    /// The proxy, if there is one.
    pub(super) nginx: Option<&'r Nginx>,
    /// What the services before it have taken.
    pub(super) claims: &'r Claims,
    /// What the services wait for.
    pub(super) wishes: &'r Wishes,
}

impl Reader<'_> {
    /// The service; `None` when something is wrong that has no default.
    pub(super) fn service(&self, s: &mut Section<'_>) -> Option<Service> {
        self.refuse_reserved_name(s);
        let is_asgi = which(s);
        let ports = self.ports(s);
        let has_port = !ports.is_empty();
        let kind = if is_asgi {
            asgi::asgi(s).map(|asgi| Kind::Asgi(Box::new(asgi)))
        } else {
            command(s, has_port)
        };
        if is_asgi && !s.has("slots") {
            s.missing("slots");
        }
        let directory = s.require("directory", scalar::path);
        let directory = directory.and_then(|_| s.path_at("directory"));
        let env_file = s.get("env_file", scalar::path);
        let around = Around { is_asgi, has_port };
        let ready = s.section("ready", |s| health::ready(s, around));
        let (drain, drain_is_sound) = s.section("drain", |s| (drain(s, is_asgi), s.sound()));
        let least_stop = (is_asgi && drain_is_sound).then(|| drain.graceful());
        let job = job::job(s, is_asgi);
        let upstream = upstream::upstream(s, self, is_asgi, ports.len());
        let front = match &upstream {
            Some(options) => Front::Behind(options),
            None if s.sound() => Front::Beside,
            None => Front::Unknown,
        };
        let grounds = Grounds { ports: ports.len(), front };
        let mut service = Service {
            name: self.name?.clone(),
            env_file: env_file.zip(directory.as_ref()).map(|(file, base)| base.join(file)),
            user: s.get("user", scalar::account),
            group: s.get("group", scalar::account),
            env: env(s).into_iter().collect(),
            depends: self.wishes.read(s, self.name),
            confinement: sandbox::confinement(s, directory.as_deref()),
            job: job.map(Box::new),
            stop: s.section("stop", |s| stop(s, &drain, least_stop)),
            restart: s.section("restart", restart::restart),
            reload: s
                .has("reload")
                .then(|| s.section("reload", |s| reload::reload(s, has_port)))
                .flatten()
                .map(Box::new),
            rollout: s.section("rollout", |s| rollout(s, grounds)),
            clears: vec![],
            upstream: upstream.map(Box::new),
            // What is missing was noted, so these defaults reach nobody.
            kind: kind.unwrap_or_else(|| Kind::Command(Vec::new())),
            directory: directory.unwrap_or_default(),
            slots: slots(&ports),
            startup: health::startup(s, around, &ready).map(Box::new),
            live: health::live(s, around, &ready).map(Box::new),
            ready,
            drain,
        };
        if service.job.is_some() {
            job::lives_once(&mut service);
        }
        Some(service)
    }

    /// The owner's name in the messages about claims.
    pub(super) fn owner(&self) -> &str {
        self.name.map_or("another service", ServiceName::as_str)
    }

    fn refuse_reserved_name(&self, s: &Section<'_>) {
        let managed = self.nginx.is_some_and(|nginx| nginx.mode == NginxMode::Managed);
        if managed && self.name.is_some_and(|name| name.as_str() == "nginx") {
            let wrong = Wrong::new("this is the name of the managed nginx");
            s.complain_here(wrong.instead("choose another name"));
        }
    }

    fn ports(&self, s: &mut Section<'_>) -> Vec<Port> {
        let ports = s.list("slots", scalar::port).unwrap_or_default();
        if s.sound() && s.has("slots") && !(1..=2).contains(&ports.len()) {
            let wrong = Wrong::new(format!("has {} ports", ports.len()));
            s.complain("slots", wrong.instead("give one, or two for start-before-stop"));
        }
        for (at, port) in &ports {
            if let Err(wrong) = self.claims.claim(format!("port {port}"), self.owner(), *at) {
                s.complain_at(*at, "slots", wrong);
            }
        }
        ports.into_iter().map(|(_, port)| port).collect()
    }
}

fn slots(ports: &[Port]) -> Slots {
    match *ports {
        [] => Slots::Sole,
        [port] => Slots::One(port),
        [blue, green, ..] => Slots::Two { blue, green },
    }
}

/// Whether it is an `app`; exactly one of `app` and `command` must be there.
fn which(s: &mut Section<'_>) -> bool {
    match (s.has("app"), s.has("command")) {
        (true, true) => {
            let wrong = Wrong::new("has both `app` and `command`");
            s.complain_here(wrong.instead("keep `app` for uvicorn, `command` for anything else"));
            true
        }
        (false, false) => {
            let wrong = Wrong::new("has neither `app` nor `command`");
            s.complain_here(wrong.instead("write for example `app: app.main:app`"));
            // Read on as whatever it resembles, so that no further mistake is made up.
            s.has("slots")
        }
        (is_asgi, _) => is_asgi,
    }
}

fn command(s: &mut Section<'_>, has_port: bool) -> Option<Kind> {
    s.refuse(asgi::KEYS, "only a service with `app` has this");
    health::argv(s, has_port).map(Kind::Command)
}

fn env(s: &mut Section<'_>) -> BTreeMap<String, Secret> {
    let mut env = BTreeMap::new();
    for (key, node) in s.entries("env") {
        let name = format!("env.{}", key.name);
        if !is_variable(&key.name) {
            let wrong = Wrong::new("is not the name of a variable");
            s.complain_at(key.at, &name, wrong.instead("use letters, digits and `_`"));
        } else if key.name.starts_with("AIBK_") {
            let wrong = Wrong::new("names that begin with AIBK_ are set by aibk");
            s.complain_at(key.at, &name, wrong.instead("choose another name"));
        }
        match s.literal(node) {
            Some(value) if value.contains('\0') => {
                s.complain_at(node.at, &name, Wrong::new("contains a zero byte"));
            }
            Some(value) => drop(env.insert(key.name.clone(), Secret::new(value))),
            None => s.complain_at(node.at, &name, no_text(node)),
        }
    }
    env
}

fn no_text(node: &Node) -> Wrong {
    let wrong = Wrong::new(format!("expected text, found {}", node.kind()));
    if node.value == Value::Null { wrong.instead("write \"\" for an empty value") } else { wrong }
}

pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn drain(s: &mut Section<'_>, is_asgi: bool) -> Drain {
    let words = &[("stop", OnDeadline::Stop), ("keep", OnDeadline::Keep)];
    let deadline = s.or("deadline", seconds(30), scalar::duration);
    let on_deadline = s.or("on_deadline", OnDeadline::Stop, scalar::one_of(words));
    let websocket = websocket(s, is_asgi, deadline, on_deadline);
    Drain { deadline, on_deadline, websocket }
}

fn websocket(
    s: &mut Section<'_>,
    is_asgi: bool,
    deadline: Duration,
    on_deadline: OnDeadline,
) -> Websocket {
    // The grace is not known where the words stand.
    const CLOSE: Websocket = Websocket::Close { grace: Duration::ZERO };
    let grace = s.or("grace", seconds(5).min(deadline), grace);
    let words = &[("wait", Websocket::Wait), ("close", CLOSE)];
    let websocket = s.or("websocket", Websocket::Wait, scalar::one_of(words));
    if websocket == Websocket::Wait {
        s.refuse(&["grace"], "has a meaning only with `websocket: close`");
    } else if !is_asgi {
        let wrong = Wrong::new("only uvicorn is known to close websockets when it is told to end");
        s.complain("websocket", wrong.instead("write `wait`"));
    } else if on_deadline == OnDeadline::Keep {
        let wrong = Wrong::new("`close` ends what `on_deadline: keep` would keep");
        s.complain("websocket", wrong.instead("remove one of the two"));
    } else if s.sound() && grace > deadline {
        let wrong = Wrong::new("is longer than `drain.deadline`, which ends the wait before");
        s.complain("grace", wrong.instead("write a shorter time"));
    }
    match websocket {
        Websocket::Wait => Websocket::Wait,
        Websocket::Close { .. } => Websocket::Close { grace },
    }
}

/// A request that chose its slot before a switch is on the wire up to a moment later.
fn grace(node: &Node) -> Result<Duration, Wrong> {
    match scalar::duration(node)? {
        given if given < seconds(1) => {
            Err(Wrong::new("is too short for requests that are on their way")
                .instead("use 1s or more"))
        }
        given => Ok(given),
    }
}

fn stop(s: &mut Section<'_>, drain: &Drain, least: Option<Duration>) -> Stop {
    let usual = drain.deadline + seconds(15);
    let deadline = s.or("deadline", usual, some_time);
    if let Some(own) = least.filter(|least| s.sound() && deadline <= *least) {
        let own = own.as_secs();
        let wrong = Wrong::new(format!(
            "is not longer than the {own}s that uvicorn gives open requests \
             (`drain.deadline` and 2s), so they would be killed"
        ));
        s.complain("deadline", wrong.instead(format!("write {}s", usual.as_secs())));
    }
    Stop { signal: StopSignal::Term, deadline }
}

fn rollout(s: &mut Section<'_>, grounds: Grounds<'_>) -> RolloutPolicy {
    let words =
        &[("stopped", Standby::Stopped), ("hot", Standby::Hot), ("shared", Standby::Shared)];
    RolloutPolicy {
        watch: s.or("watch", seconds(10), scalar::duration),
        keep_old: s.or("keep_old", seconds(600), scalar::duration),
        hold: s.or("hold", seconds(3600), some_time),
        standby: s.or("standby", Standby::Stopped, scalar::one_of(words)),
        canary: canary::canary(s, grounds),
        judge: judge::judge(s),
    }
}
