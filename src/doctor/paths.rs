//! Whether users can come to what is theirs, through every directory above it.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Group, User, getgrouplist};

use super::{Finding, Topic, site::Site};
use crate::{
    config::{Config, Kind, Service},
    sys::proc,
};

/// Who comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    name: String,
    uid: u32,
    gids: Vec<u32>,
}

/// What is needed at the end of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// To go into it.
    Enter,
    /// To read it.
    Read,
    /// To make files in it.
    Write,
}

/// A place on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    mode: u32,
    uid: u32,
    gid: u32,
    list: List,
}

/// Whether there is an access control list, acl(5), by which more may be allowed than by the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    None,
    There,
}

/// A way from `/` to something, for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    who: Who,
    /// `the release of api`.
    what: String,
    need: Need,
    /// From `/` on; the last one is what is needed.
    places: Vec<Place>,
}

pub(super) fn look(config: &Config, site: &Site) -> Vec<Way> {
    let mut ways: Vec<Way> = config.services.values().flat_map(|one| of_service(one)).collect();
    for app in config.apps.values() {
        let Some(who) = account(app.user.as_deref(), app.group.as_deref()) else { continue };
        let name = &app.name;
        ways.extend(way(&who, &app.home, Need::Enter, format!("the home of {name}")));
        let logs = app.home.join("logs");
        ways.extend(way(&who, &logs, Need::Write, format!("the logs of {name}")));
        for uploads in ["uploads", "media"] {
            let what = format!("the uploads of {name}");
            ways.extend(way(&who, &app.home.join(uploads), Need::Write, what));
        }
    }
    let flips = config.services.values().any(|service| {
        let options = service.upstream.as_ref();
        options.is_some_and(|options| options.switch == crate::config::Switch::Flip)
    });
    if let (true, Some(nginx), Some(who)) = (flips, &config.nginx, worker(site)) {
        ways.extend(way(&who, &nginx.flags, Need::Enter, "the flags of nginx".to_owned()));
    }
    ways
}

fn of_service(service: &Service) -> Vec<Way> {
    let Some(who) = account(service.user.as_deref(), service.group.as_deref()) else {
        return vec![];
    };
    let name = &service.name;
    let mut ways = Vec::new();
    ways.extend(way(&who, &service.directory, Need::Enter, format!("the code of {name}")));
    if let Kind::Asgi(asgi) = &service.kind {
        let python = service.directory.join(&asgi.venv).join("bin/python");
        ways.extend(way(&who, &python, Need::Enter, format!("the environment of {name}")));
    }
    // The application reads it itself, too: pydantic-settings.
    if let Some(file) = &service.env_file {
        let file = service.directory.join(file);
        ways.extend(way(&who, &file, Need::Read, format!("the env file of {name}")));
    }
    ways
}

/// `None` where nothing is there, which is told elsewhere.
fn way(who: &Who, path: &Path, need: Need, what: String) -> Option<Way> {
    let real = path.canonicalize();
    let real = real.unwrap_or_else(|_| path.to_owned());
    let mut places: Vec<Place> = Vec::new();
    for path in ancestors(path).into_iter().chain(ancestors(&real)) {
        let Ok(meta) = path.metadata() else { continue };
        if places.iter().all(|place| place.path != path) {
            let list = List::of(&path);
            let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
            places.push(Place { path, mode, uid, gid, list });
        }
    }
    let arrives = places.last().is_some_and(|last| last.path == real);
    arrives.then(|| Way { who: who.clone(), what, need, places })
}

/// From `/` to `path` itself.
fn ancestors(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
    all.retain(|place| !place.as_os_str().is_empty());
    all.reverse();
    all
}

impl List {
    fn of(path: &Path) -> Self {
        let mut nothing: [u8; 0] = [];
        match rustix::fs::getxattr(path, "system.posix_acl_access", &mut nothing) {
            Ok(1..) => Self::There,
            Ok(0) | Err(_) => Self::None,
        }
    }
}

/// The daemon's own user, which is root, needs no permission.
fn account(user: Option<&str>, group: Option<&str>) -> Option<Who> {
    let user = User::from_name(user?).ok()??;
    let group = group.and_then(|group| Group::from_name(group).ok()?).map(|group| group.gid);
    let gid = group.unwrap_or(user.gid);
    let name = std::ffi::CString::new(user.name.as_str()).ok()?;
    let gids = getgrouplist(&name, gid).unwrap_or_else(|_| vec![gid]);
    let gids = gids.into_iter().map(Gid::as_raw).collect();
    Some(Who { name: user.name, uid: user.uid.as_raw(), gids })
}

/// Whom the workers of nginx run as: those that run, else what the configuration says.
fn worker(site: &Site) -> Option<Who> {
    let running = site.master.and_then(|master| {
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let children = children.ok()?;
        let mut pids = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
        let worker = pids.find(|pid| proc::command(*pid).starts_with("nginx: worker"))?;
        let status = std::fs::read_to_string(format!("/proc/{worker}/status")).ok()?;
        ids(&status)
    });
    running.or_else(|| account(Some(site.values("user").first()?), None))
}

/// The effective ids in /proc/PID/status.
fn ids(status: &str) -> Option<Who> {
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
    let effective = |key: &str| line(key)?.split_ascii_whitespace().nth(1)?.parse::<u32>().ok();
    let uid = effective("Uid:")?;
    let groups = line("Groups:").unwrap_or_default().split_ascii_whitespace();
    let mut gids: Vec<u32> = groups.filter_map(|gid| gid.parse().ok()).collect();
    gids.extend(effective("Gid:"));
    let user = User::from_uid(uid.into()).ok().flatten();
    Some(Who { name: user.map_or_else(|| uid.to_string(), |user| user.name), uid, gids })
}

pub(super) fn findings(ways: &[Way]) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for way in ways {
        let finding = finding(way);
        // Two services in one directory meet the same closed door.
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    found
}

fn finding(way: &Way) -> Finding {
    let Way { who, what, need, places } = way;
    let name = &who.name;
    let last = places.len().saturating_sub(1);
    let needs = |at: usize| if at < last { Need::Enter } else { *need };
    let closed = places.iter().enumerate().find(|(at, place)| !allows(place, who, needs(*at)));
    let target = places.last().map(|place| place.path.display().to_string()).unwrap_or_default();
    let Some((at, place)) = closed else {
        let verb = needed(*need);
        return Finding::ok(Topic::Permissions, format!("{name} can {verb} {what} ({target})"));
    };
    let (path, mode) = (place.path.display(), place.mode & 0o7777);
    let (verb, bits) = match needs(at) {
        Need::Enter => ("enter", "x"),
        Need::Read => ("read", "r"),
        Need::Write => ("write to", "wx"),
    };
    let observed = format!("{name} cannot {verb} {path} (mode {mode:04o}), on the way to {what}");
    let next = format!("let it: setfacl -m u:{name}:{bits} {path}, or change owner or mode");
    match place.list {
        List::None => Finding::problem(Topic::Permissions, observed, next),
        List::There => Finding::warning(
            Topic::Permissions,
            format!("{observed}, by its mode alone; it has an access control list, too"),
            format!("see what that says (getfacl {path}); if it does not allow it, {next}"),
        ),
    }
}

const fn needed(need: Need) -> &'static str {
    match need {
        Need::Enter => "come to",
        Need::Read => "read",
        Need::Write => "write to",
    }
}

/// By owner, group and mode: `path_resolution(7)`.
fn allows(place: &Place, who: &Who, need: Need) -> bool {
    if who.uid == 0 {
        return true;
    }
    let shift = if place.uid == who.uid {
        6
    } else if who.gids.contains(&place.gid) {
        3
    } else {
        0
    };
    let bits = match need {
        Need::Enter => 0o1,
        Need::Read => 0o4,
        Need::Write => 0o3,
    };
    place.mode >> shift & bits == bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    fn who() -> Who {
        Who { name: "app".into(), uid: 7, gids: vec![7, 70] }
    }

    fn place(path: &str, mode: u32, uid: u32, gid: u32) -> Place {
        Place { path: path.into(), mode, uid, gid, list: List::None }
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        for (mode, uid, gid, enter, read, write) in [
            (0o755, 0, 0, true, true, false),
            (0o750, 0, 0, false, false, false),
            (0o750, 0, 70, true, true, false),
            (0o711, 0, 0, true, false, false),
            (0o700, 7, 0, true, true, true),
            (0o077, 7, 0, false, false, false),
            (0o707, 0, 70, false, false, false),
            (0o773, 0, 0, true, false, true),
        ] {
            let place = place("/x", mode, uid, gid);
            let can = |need| allows(&place, &who(), need);
            let told = (can(Need::Enter), can(Need::Read), can(Need::Write));
            assert_eq!(told, (enter, read, write), "{mode:o} {uid}:{gid}");
            assert!(allows(&place, &Who { uid: 0, ..who() }, Need::Write));
        }
    }

    #[test]
    fn the_first_closed_door_is_named() {
        let mut way = Way {
            who: who(),
            what: "the env file of api".into(),
            need: Need::Read,
            places: vec![
                place("/", 0o755, 0, 0),
                place("/home", 0o700, 0, 0),
                place("/home/.env", 0o600, 0, 0),
            ],
        };
        let told = finding(&way);
        assert_eq!(told.severity, Severity::Problem);
        assert_eq!(
            told.observed,
            "app cannot enter /home (mode 0700), on the way to the env file of api"
        );
        assert!(told.next.unwrap().contains("setfacl -m u:app:x /home"));
        way.places[1].mode = 0o711;
        assert!(finding(&way).observed.starts_with("app cannot read /home/.env (mode 0600)"));
        way.places[2].list = List::There;
        assert_eq!(finding(&way).severity, Severity::Warning);
        way.places[2].uid = 7;
        assert_eq!(finding(&way).severity, Severity::Ok);
        assert_eq!(findings(&[way.clone(), way]).len(), 1);
    }

    #[test]
    fn a_link_is_followed_and_both_ways_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("releases/1")).unwrap();
        std::os::unix::fs::symlink("releases/1", dir.path().join("current")).unwrap();
        let seen =
            way(&who(), &dir.path().join("current"), Need::Enter, "the code".into()).unwrap();
        let last: Vec<_> = seen.places.iter().rev().take(2).map(|place| &place.path).collect();
        let real = dir.path().canonicalize().unwrap();
        assert_eq!(last, [&real.join("releases/1"), &real.join("releases")]);
        assert!(seen.places.iter().any(|place| place.path.ends_with("current")));
        assert_eq!(way(&who(), &dir.path().join("gone"), Need::Read, String::new()), None);
    }

    #[test]
    fn effective_ids_of_a_worker_are_read() {
        let told =
            ids("Name:\tnginx\nUid:\t1\t2\t2\t2\nGid:\t3\t4\t4\t4\nGroups:\t5 6 \n").unwrap();
        assert_eq!((told.uid, told.gids), (2, vec![5, 6, 4]));
    }
}
