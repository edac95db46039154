//! What the owned file should say next, and its flags: pure.

use std::collections::BTreeMap;

use super::{
    Edited, Edition, NginxError, Site, Switch, Upstreams,
    flip::{Flag, Seen, Turn, exchanged, flips},
    owned_file::OnDisk,
    render::{Places, render},
};
use crate::ident::ServiceName;

/// What the file says and what nginx serves, as observed.
#[derive(Debug)]
pub(super) struct Now {
    /// The file, if there is one.
    pub(super) disk: Option<OnDisk>,
    /// The flags of all services that flip.
    pub(super) flags: BTreeMap<Flag, Seen>,
    /// nginx's answer.
    pub(super) served: Result<Edited, NginxError>,
    /// Whether it could not answer for want of a socket.
    pub(super) cut: Cut,
    /// Then, what it served when it was last asked.
    pub(super) recalled: Option<Edited>,
}

/// Whether nginx listens on a proof socket that somebody has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// It does not.
    No,
    /// It does, and nobody can ask it any more.
    Off,
}

/// The next content of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    /// What it says.
    pub(super) edited: Edited,
    /// All of it.
    pub(super) text: String,
    /// Flags that nothing obeys yet, or that say the same under another name: turned first.
    pub(super) before: Vec<Turn>,
    /// Flags that what nginx serves obeys: turned once it has read the file.
    pub(super) after: Vec<Turn>,
}

impl Next {
    fn new(edited: Edited, now: &Now, site: &Site, places: Places<'_>) -> Result<Self, NginxError> {
        let text = render(&edited, site, places)?;
        let (mut before, mut after) = (vec![], vec![]);
        for (service, flag) in &edited.flips {
            let Some(proxied) = site.get(service) else { continue };
            let (Switch::Flip(flip), Some(members)) =
                (&proxied.switch, edited.upstreams.get(service))
            else {
                continue;
            };
            let Some(to) = flip.colour(members) else { continue };
            let seen = now.flags.get(flag).copied().unwrap_or(Seen::Missing);
            if seen == Seen::Sound(to) {
                continue;
            }
            let turn =
                Turn { service: service.clone(), flag: flag.clone(), from: seen.colour(), to };
            if now.obeys(service, flag) && turn.from != to {
                after.push(turn);
            } else {
                before.push(turn);
            }
        }
        Ok(Self { edited, text, before, after })
    }

    /// What nginx serves when it has read the file, and before the last flags are turned.
    pub(super) fn between(&self) -> Edited {
        let mut between = self.edited.clone();
        for turn in &self.after {
            if let Some(members) = between.upstreams.get_mut(&turn.service) {
                *members = exchanged(members);
            }
        }
        between
    }
}

impl Now {
    /// Whether what nginx serves obeys the flag of `service`. A silent one may have the file.
    fn obeys(&self, service: &ServiceName, flag: &Flag) -> bool {
        let has = |edited: &Edited| edited.flips.get(service) == Some(flag);
        let disk = || self.disk.as_ref().map(|disk| &disk.edited);
        let served = self.served.as_ref().ok().or(self.recalled.as_ref());
        served.or_else(disk).is_some_and(has)
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing: the file says so already, in these very bytes.
    Keep(Next),
    /// The file is to be replaced.
    Replace(Next),
}

/// The file with `change` in it: every other service as the file has it, or as nginx
/// serves it when the file is gone; services that are no longer configured are left out. `last`
/// is the newest edition given out so far, which is not used again even if it came to nothing.
///
/// # Errors
/// When a service is not behind nginx, or nginx would refuse its members.
pub(super) fn plan(
    now: &Now,
    last: Edition,
    site: &Site,
    places: Places<'_>,
    change: &Upstreams,
) -> Result<Plan, NginxError> {
    if let Some(unknown) = change.keys().find(|service| !site.contains_key(service)) {
        return Err(NginxError::UnknownService(unknown.clone()));
    }
    let disk = now.disk.as_ref();
    let served = now.served.as_ref().ok();
    let recalled = now.recalled.as_ref();
    let base = disk.map(|disk| &disk.edited).or(served).or(recalled);
    let mut upstreams = base.map(|base| base.upstreams.clone()).unwrap_or_default();
    upstreams.retain(|service, _| site.contains_key(service));
    upstreams.extend(change.clone());
    let flips = flips(&upstreams, site);

    let known =
        [disk.map(|disk| disk.edited.edition), served.or(recalled).map(|seen| seen.edition)];
    let newest = known.into_iter().flatten().max().unwrap_or_default();
    if let Some(disk) = disk.filter(|disk| disk.edited.edition == newest) {
        let edited = Edited { edition: newest, upstreams: upstreams.clone(), flips: flips.clone() };
        let next = Next::new(edited, now, site, places)?;
        if next.text == disk.text {
            return Ok(Plan::Keep(next));
        }
    }
    let highest = newest.max(last);
    let edited = Edited { edition: Edition(highest.0.saturating_add(1)), upstreams, flips };
    Ok(Plan::Replace(Next::new(edited, now, site, places)?))
}

/// The same content as another edition, so that it can be seen when nginx has read it again.
///
/// # Errors
/// As [`plan`].
pub(super) fn again(
    same: Next,
    last: Edition,
    site: &Site,
    places: Places<'_>,
) -> Result<Next, NginxError> {
    let edition = Edition(same.edited.edition.max(last).0.saturating_add(1));
    let edited = Edited { edition, ..same.edited };
    let text = render(&edited, site, places)?;
    Ok(Next { edited, text, ..same })
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::{
        config,
        ident::Port,
        nginx::{Members, Proxied, Role, render::SocketPath},
    };

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    fn site(services: &[&str]) -> Site {
        let proxied = |service: &str| Proxied {
            options: config::UpstreamOptions {
                name: name(service),
                least_conn: false,
                keepalive: 8,
                keepalive_timeout: Duration::from_secs(2),
                zone_kib: None,
                max_fails: 0,
                fail_timeout: Duration::from_secs(10),
                preview: None,
                switch: config::Switch::Reload,
            },
            host: [127, 0, 0, 1].into(),
            switch: Switch::Reload,
        };
        services.iter().map(|service| (name(service), proxied(service))).collect()
    }

    fn on(port: u16) -> Members {
        [(Port::new(port).unwrap(), Role::Serving)].into()
    }

    fn places() -> Places<'static> {
        let proof = SocketPath::new(Path::new("/run/aibk/nginx.sock")).unwrap();
        Places { proof, requests: None, spare_idle: None }
    }

    fn edited(edition: u64, upstreams: &[(&str, u16)]) -> Edited {
        let upstreams = upstreams.iter().map(|(service, port)| (name(service), on(*port)));
        Edited { edition: Edition(edition), upstreams: upstreams.collect(), ..Edited::default() }
    }

    fn now(disk: Option<Edited>, served: Option<Edited>) -> Now {
        let text = |edited: &Edited| render(edited, &site(&["api", "admin"]), places()).unwrap();
        Now {
            disk: disk.map(|edited| OnDisk { text: text(&edited), edited }),
            flags: BTreeMap::new(),
            served: served.ok_or(NginxError::NotRunning { why: String::new() }),
            cut: Cut::No,
            recalled: None,
        }
    }

    fn next(now: &Now, last: u64, site: &Site, port: u16) -> Plan {
        plan(now, Edition(last), site, places(), &[(name("api"), on(port))].into()).unwrap()
    }

    fn replaced(plan: Plan) -> Edited {
        match plan {
            Plan::Replace(next) => next.edited,
            Plan::Keep(next) => panic!("kept {next:?}"),
        }
    }

    #[test]
    fn other_services_stay_as_the_file_has_them() {
        let disk = edited(4, &[("admin", 8002), ("api", 8000)]);
        let served = edited(3, &[("admin", 9999), ("api", 8000)]);
        let plan = next(&now(Some(disk), Some(served)), 0, &site(&["api", "admin"]), 8001);
        assert_eq!(replaced(plan), edited(5, &[("admin", 8002), ("api", 8001)]));
    }

    #[test]
    fn a_lost_file_is_written_again_from_what_nginx_serves() {
        let served = edited(3, &[("admin", 8002), ("api", 8000)]);
        let plan = next(&now(None, Some(served)), 0, &site(&["api", "admin"]), 8000);
        assert_eq!(replaced(plan), edited(4, &[("admin", 8002), ("api", 8000)]));
    }

    #[test]
    fn what_nginx_served_before_it_was_cut_off_stays() {
        let before = edited(3, &[("admin", 8002), ("api", 8001)]);
        let mut seen = now(None, None);
        (seen.cut, seen.recalled) = (Cut::Off, Some(before));
        let plan = next(&seen, 0, &site(&["api", "admin"]), 8000);
        assert_eq!(replaced(plan), edited(4, &[("admin", 8002), ("api", 8000)]));
    }

    #[test]
    fn an_edition_is_never_given_out_twice() {
        let disk = edited(4, &[("api", 8000)]);
        let both = now(Some(disk.clone()), Some(edited(7, &[("api", 8000)])));
        assert_eq!(replaced(next(&both, 0, &site(&["api"]), 8000)).edition, Edition(8));
        let failed_before = now(Some(disk), None);
        assert_eq!(replaced(next(&failed_before, 9, &site(&["api"]), 8001)).edition, Edition(10));
    }

    #[test]
    fn the_same_in_the_same_bytes_is_kept() {
        let disk = edited(4, &[("admin", 8002), ("api", 8000)]);
        let mut seen = now(Some(disk.clone()), Some(disk));
        let both = site(&["api", "admin"]);
        assert!(
            matches!(next(&seen, 9, &both, 8000), Plan::Keep(next) if next.edited.edition.0 == 4)
        );
        assert!(matches!(next(&seen, 9, &site(&["api"]), 8000), Plan::Replace(_)));
        seen.disk.as_mut().unwrap().text.push_str("# edited by hand\n");
        assert!(matches!(next(&seen, 9, &both, 8000), Plan::Replace(_)));
    }
}
