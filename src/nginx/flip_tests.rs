use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    config::{self, UpstreamOptions},
    nginx::{
        Edition, NginxError, Proxied,
        owned_file::OnDisk,
        plan::{Cut, Next, Now, Plan, plan},
        render::{Places, SocketPath, read_back, render},
    },
};

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn flip(service: &str) -> Flip {
    let slots = Slots::Two { blue: port(8000), green: port(8001) };
    Flip::new(&name(service), slots, Path::new("/flags")).unwrap()
}

fn site(switch: Switch) -> Site {
    let options = UpstreamOptions {
        name: name("api_backend"),
        least_conn: false,
        keepalive: 8,
        keepalive_timeout: Duration::from_secs(2),
        zone_kib: Some(64),
        max_fails: 0,
        fail_timeout: Duration::from_secs(10),
        preview: None,
        switch: config::Switch::Flip,
    };
    [(name("api"), Proxied { options, host: [127, 0, 0, 1].into(), switch })].into()
}

/// One service, `api`, that switches by `way`.
pub(in crate::nginx) fn of(way: &str) -> Site {
    if way == "flip" { flipping() } else { site(Switch::Reload) }
}

fn flipping() -> Site {
    site(Switch::Flip(flip("api")))
}

fn places() -> Places<'static> {
    let proof = SocketPath::new(Path::new("/run/aibk/nginx.sock")).unwrap();
    Places { proof, requests: None, spare_idle: None }
}

const BLUE: &[(u16, Role)] = &[(8000, Role::Serving), (8001, Role::Backup)];
const GREEN: &[(u16, Role)] = &[(8000, Role::Backup), (8001, Role::Serving)];
const BOTH: &[(u16, Role)] = &[(8000, Role::Serving), (8001, Role::Serving)];
const ONE: &[(u16, Role)] = &[(8001, Role::Serving)];

fn members(list: &[(u16, Role)]) -> Members {
    list.iter().map(|(number, role)| (port(*number), *role)).collect()
}

fn edited(site: &Site, list: &[(u16, Role)]) -> Edited {
    let upstreams = Upstreams::from([(name("api"), members(list))]);
    Edited { edition: Edition(4), flips: flips(&upstreams, site), upstreams }
}

fn text(list: &[(u16, Role)]) -> String {
    render(&edited(&flipping(), list), &flipping(), places()).unwrap()
}

/// The world in which file and nginx say `list`, with the flag as `seen`.
fn now(list: &[(u16, Role)], seen: Seen) -> Now {
    let edited = edited(&flipping(), list);
    Now {
        disk: Some(OnDisk { text: text(list), edited: edited.clone() }),
        flags: [(flip("api").flag, seen)].into(),
        served: Ok(edited),
        cut: Cut::No,
        recalled: None,
    }
}

fn next(now: &Now, site: &Site, list: &[(u16, Role)]) -> Plan {
    plan(now, Edition(0), site, places(), &[(name("api"), members(list))].into()).unwrap()
}

fn says(turns: &[Turn]) -> Vec<(Colour, Colour)> {
    turns.iter().map(|turn| (turn.from, turn.to)).collect()
}

#[test]
fn golden_files() {
    for (file, list) in [("flip.conf", BLUE), ("flip-both.conf", BOTH)] {
        let path = format!("{}/tests/golden/nginx/{file}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, text(list)).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text(list), "{path}");
    }
}

#[test]
fn a_turned_flag_changes_no_byte_of_the_file() {
    assert_eq!(text(BLUE), text(GREEN));
    let written = read_back(&text(GREEN)).unwrap().unwrap();
    let meant = |seen| with_flags(written.clone(), |_| seen);
    assert_eq!(meant(Seen::Sound(Colour::Green)), edited(&flipping(), GREEN));
    assert_eq!(meant(Seen::Doubled), edited(&flipping(), GREEN));
    assert_eq!(meant(Seen::Sound(Colour::Blue)), edited(&flipping(), BLUE));
    assert_eq!(meant(Seen::Missing), edited(&flipping(), BLUE));
}

#[test]
fn files_that_differ_by_a_flag_are_the_same_but_for_flags() {
    let [blue, green, both] = [BLUE, GREEN, BOTH].map(|list| edited(&flipping(), list));
    assert_eq!(but_for_flags(&blue), but_for_flags(&green));
    assert_ne!(but_for_flags(&blue), but_for_flags(&both));
    let reloads = [BLUE, GREEN].map(|list| but_for_flags(&edited(&site(Switch::Reload), list)));
    assert_ne!(reloads[0], reloads[1]);
}

#[test]
fn where_no_slot_stands_in_the_flag_says_nothing() {
    for list in [BOTH, ONE] {
        let written = read_back(&text(list)).unwrap().unwrap();
        assert!(written.flips.is_empty() && !text(list).contains("if (-f"));
        assert_eq!(with_flags(written.clone(), |_| Seen::Sound(Colour::Green)), written);
    }
}

#[test]
fn another_colour_is_one_turned_flag() {
    let Plan::Keep(to) = next(&now(BLUE, Seen::Sound(Colour::Blue)), &flipping(), GREEN) else {
        panic!()
    };
    assert_eq!((says(&to.before), says(&to.after)), (vec![], vec![(Colour::Blue, Colour::Green)]));
    assert_eq!(to.between(), edited(&flipping(), BLUE));
    assert_eq!(to.edited, edited(&flipping(), GREEN));
}

#[test]
fn a_member_that_comes_finds_its_flag_turned() {
    let Plan::Replace(to) = next(&now(ONE, Seen::Sound(Colour::Blue)), &flipping(), GREEN) else {
        panic!()
    };
    assert_eq!((says(&to.before), says(&to.after)), (vec![(Colour::Blue, Colour::Green)], vec![]));
    assert_eq!(to.between(), to.edited);
}

#[test]
fn a_file_of_other_settings_is_read_before_the_flag_is_turned() {
    let mut seen = now(BLUE, Seen::Sound(Colour::Blue));
    seen.disk.as_mut().unwrap().text.push_str("# edited by hand\n");
    let Plan::Replace(to) = next(&seen, &flipping(), GREEN) else { panic!() };
    assert_eq!(says(&to.after), [(Colour::Blue, Colour::Green)]);
    assert_eq!(to.between().upstreams[&name("api")], members(BLUE));
}

#[test]
fn a_flag_that_somebody_removed_is_made_again_and_changes_nothing() {
    let Plan::Keep(to) = next(&now(BLUE, Seen::Missing), &flipping(), BLUE) else { panic!() };
    assert_eq!((says(&to.before), says(&to.after)), (vec![(Colour::Blue, Colour::Blue)], vec![]));
    let Plan::Keep(same) = next(&now(BLUE, Seen::Sound(Colour::Blue)), &flipping(), BLUE) else {
        panic!()
    };
    assert_eq!((same.before, same.after), (vec![], vec![]));
}

#[test]
fn a_change_of_the_way_keeps_the_colour() {
    let reloads = site(Switch::Reload);
    let green = now(GREEN, Seen::Sound(Colour::Green));
    let away = plan(&green, Edition(0), &reloads, places(), &Upstreams::new()).unwrap();
    let Plan::Replace(away) = away else { panic!() };
    assert_eq!(away.edited.upstreams[&name("api")], members(GREEN));
    assert!(away.text.contains("upstream api_backend {") && !away.text.contains("_green"));

    let file = edited(&reloads, GREEN);
    let disk = OnDisk { text: render(&file, &reloads, places()).unwrap(), edited: file.clone() };
    let flags = [(flip("api").flag, Seen::Missing)].into();
    let seen = Now { disk: Some(disk), flags, served: Ok(file), cut: Cut::No, recalled: None };
    let back = plan(&seen, Edition(0), &flipping(), places(), &Upstreams::new()).unwrap();
    let Plan::Replace(Next { edited, before, after, .. }) = back else { panic!() };
    assert_eq!(edited.upstreams[&name("api")], members(GREEN));
    assert_eq!((says(&before), after), (vec![(Colour::Blue, Colour::Green)], vec![]));
}

/// A flag is turned before nginx has read the file only if what it serves does not obey it, so that
/// it never switches to what was not proved: whatever the flag, the file and nginx say.
fn nothing_switches_early(
    disk: &[(u16, Role)],
    served: Option<&[(u16, Role)]>,
    seen: Seen,
    to: &[(u16, Role)],
) {
    let mut world = now(disk, seen);
    world.served = match served {
        Some(list) => Ok(edited(&flipping(), list)),
        None => Err(NginxError::NotRunning { why: String::new() }),
    };
    let (Plan::Keep(next) | Plan::Replace(next)) = next(&world, &flipping(), to);
    let obeyed = match served {
        Some(list) => edited(&flipping(), list).flips,
        None => edited(&flipping(), disk).flips,
    };
    for turn in &next.before {
        assert!(obeyed.is_empty() || turn.from == turn.to, "{next:?}");
    }
    let wanted = edited(&flipping(), to).flips.len();
    let turned = next.before.iter().chain(&next.after).filter(|turn| turn.to == next_colour(to));
    let is_sound = seen == Seen::Sound(next_colour(to));
    assert_eq!(turned.count(), if is_sound { 0 } else { wanted }, "{next:?}");
}

fn next_colour(list: &[(u16, Role)]) -> Colour {
    flip("api").colour(&members(list)).unwrap_or(Colour::Blue)
}

#[test]
fn nothing_switches_before_it_is_proved() {
    let lists = [BLUE, GREEN, BOTH, ONE];
    let flags =
        [Seen::Sound(Colour::Blue), Seen::Sound(Colour::Green), Seen::Missing, Seen::Doubled];
    for disk in lists {
        for served in [None].into_iter().chain(lists.map(Some)) {
            for seen in flags {
                for to in lists {
                    nothing_switches_early(disk, served, seen, to);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn what_flips_reads_back(roles in prop::collection::vec(0..4usize, 2), seen in any::<bool>()) {
        let role = |n: usize| [None, Some(Role::Serving), Some(Role::Backup), Some(Role::Down)][n];
        let list: Members = [(port(8000), role(roles[0])), (port(8001), role(roles[1]))]
            .into_iter()
            .filter_map(|(port, role)| Some((port, role?)))
            .collect();
        let upstreams = Upstreams::from([(name("api"), list)]);
        let meant = Edited { edition: Edition(4), flips: flips(&upstreams, &flipping()), upstreams };
        if let Ok(text) = render(&meant, &flipping(), places()) {
            let colour = flip("api").colour(&meant.upstreams[&name("api")]);
            let any = if seen { Colour::Green } else { Colour::Blue };
            let flag = Seen::Sound(colour.unwrap_or(any));
            let back = with_flags(read_back(&text).unwrap().unwrap(), |_| flag);
            prop_assert_eq!(back, meant);
        }
    }
}
