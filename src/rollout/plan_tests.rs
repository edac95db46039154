//! The plan, played through in a simulated world in which effects work, fail, or are run twice.

mod canary;
mod held;
mod sick;

use std::collections::BTreeSet;

use super::{
    draft::{Draft, Pause, Refusal, Request, draft},
    plan::{Next, next_step},
    record::{Course, DOCUMENT, Kind, Loss, Outcome, Rollout, Step},
    world::{Proof, Room, Seen, World},
};
use crate::{
    config::{Config, Service},
    ident::{Generation, Port, ReleaseId, RolloutId, ServiceName, Slot},
    instance::Phase,
    nginx::{Members, Role},
    release::Release,
};

pub(super) const BLUE: u16 = 8000;
pub(super) const GREEN: u16 = 8001;

pub(super) fn slot(port: u16) -> Slot {
    Slot::Port(Port::new(port).unwrap())
}

pub(super) fn release(name: &str) -> Release {
    Release { id: ReleaseId(name.to_owned()), directory: format!("/srv/{name}").into() }
}

pub(super) fn service(slots: &str, standby: &str) -> Service {
    let text = format!(
        "nginx: {{}}\nservices:\n  api:\n    app: a:b\n    directory: /srv/current\n    slots: {slots}\n    rollout: {{standby: {standby}}}\n"
    );
    let config = Config::parse(&text, std::path::Path::new("/etc/aibk/aibk.yaml")).unwrap();
    Service::clone(&config.services[&ServiceName::new("api").unwrap()])
}

pub(super) fn seen(phase: Phase, of: Option<&str>) -> Seen {
    Seen {
        phase,
        wanted: phase != Phase::Stopped,
        rest: None,
        release: of.map(release),
        generation: of.map(|_| Generation(1)),
        rollout: None,
        room: Room::None,
    }
}

pub(super) fn members(roles: &[(u16, Role)]) -> Members {
    roles.iter().map(|(port, role)| (Port::new(*port).unwrap(), *role)).collect()
}

/// Blue serves v1, green is stopped.
pub(super) fn at_rest() -> World {
    World {
        slots: [
            (slot(BLUE), seen(Phase::Ready, Some("v1"))),
            (slot(GREEN), seen(Phase::Stopped, None)),
        ]
        .into(),
        members: Some(members(&[(BLUE, Role::Serving)])),
        proof: Proof::Agreed,
    }
}

pub(super) fn both(green: Role) -> World {
    World {
        slots: [
            (slot(BLUE), seen(Phase::Ready, Some("v1"))),
            (slot(GREEN), seen(Phase::Ready, Some("v1"))),
        ]
        .into(),
        members: Some(members(&[(BLUE, Role::Serving), (GREEN, green)])),
        proof: Proof::Agreed,
    }
}

pub(super) fn request(kind: Kind, at: Option<u16>, loss: Loss) -> Request {
    Request { slot: at.map(slot), loss, ..Request::of(kind, release("v2")) }
}

pub(super) fn begin(kind: Kind, at: Option<u16>, draft: Draft) -> Rollout {
    begun(RolloutId(7), kind, at.map(slot), draft)
}

/// A rollout that has taken no step.
pub(super) fn begun(id: RolloutId, kind: Kind, slot: Option<Slot>, draft: Draft) -> Rollout {
    Rollout {
        document: DOCUMENT,
        id,
        service: ServiceName::new("api").unwrap(),
        kind,
        slot,
        release: draft.release,
        by: "uid 0".to_owned(),
        part_of: None,
        begun: 0,
        ended: None,
        loss: draft.loss,
        origin: draft.origin,
        served: draft.served,
        stages: draft.stages,
        at: 0,
        watched: false,
        course: Course::Forward,
        committed: false,
        drained: BTreeSet::new(),
        exposed: BTreeSet::new(),
        stopped: BTreeSet::new(),
        steps: vec![],
        failure: None,
        preview: draft.preview,
        clients: crate::rollout::clients::Clients::Unasked,
        undo: None,
        convoy: vec![],
        waits: None,
        revision: 0,
    }
}

/// What a step does to the world when it works, with the invariants asserted at each.
fn act(world: &mut World, step: &Step, rollout: &Rollout) {
    match step {
        Step::Start { slot, .. } => {
            assert!(!world.slots[slot].phase.is_up(), "P3: {slot} is not empty");
        }
        Step::Publish { members } => {
            for (port, role) in members {
                let ready = world.is_ready(Slot::Port(*port));
                let before = world.members.as_ref().and_then(|m| m.get(port));
                let joins = before != Some(role) && *role != Role::Down;
                assert!(!joins || ready, "{port} is published but not ready");
            }
            let left = |port: &&Port| !members.contains_key(port);
            let well = |port: &Port| world.is_ready(Slot::Port(*port));
            let stays = members.iter().any(|(port, role)| *role != Role::Down && well(port));
            let before = world.members.iter().flat_map(|m| m.keys());
            let well_one_goes = before.filter(left).any(well);
            assert!(!well_one_goes || stays || rollout.loss == Loss::Accepted, "T1: {members:?}");
        }
        Step::Drain { slot } => assert!(!world.has_traffic(*slot), "T2: {slot} is a member"),
        Step::Stop { slot } => {
            let exposed = world.has_traffic(*slot) && world.is_ready(*slot);
            assert!(!exposed || rollout.loss == Loss::Accepted, "T2: {slot} serves");
        }
        Step::Replace { slot, .. } => {
            let there = &world.slots[slot];
            assert!(there.phase.is_up() && there.room != Room::None, "{there:?}");
        }
        Step::AwaitReady { .. } | Step::Watch { .. } | Step::Hold { .. } | Step::Dismiss { .. } => {
        }
    }
    *world = world.clone().after(step, rollout);
}

/// How the simulated world treats the `n`th step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Works,
    Fails,
    /// The daemon dies after the effect, before its result is durable.
    Forgotten,
    /// The daemon dies between the intent and the effect.
    Unbegun,
}

pub(super) fn play(
    rollout: &mut Rollout,
    world: &mut World,
    fate: impl Fn(usize) -> Fate,
) -> Vec<Step> {
    let mut taken = vec![];
    for n in 0..60 {
        match next_step(rollout, world) {
            Next::Advance => rollout.advance(),
            Next::End(outcome) => {
                rollout.end(outcome, 1);
                return taken;
            }
            Next::Do(step) => {
                rollout.begin(&step, world, 0);
                taken.push(step.clone());
                match fate(taken.len() - 1) {
                    Fate::Works => {
                        act(world, &step, rollout);
                        rollout.finish(Ok(None), 1);
                    }
                    Fate::Fails => rollout.finish(Err("it broke".to_owned()), 1),
                    Fate::Forgotten => act(world, &step, rollout),
                    Fate::Unbegun => {}
                }
            }
        }
        assert!(n < 59, "does not converge: {:#?}", words(&taken));
    }
    taken
}

pub(super) fn words(steps: &[Step]) -> Vec<String> {
    let api = ServiceName::new("api").unwrap();
    steps.iter().map(|step| format!("{} {}", step.word(), step.subject(&api))).collect()
}

#[test]
fn a_rolling_update_goes_from_t0_to_t5() {
    let (mut world, service) = (at_rest(), service("[8000, 8001]", "stopped"));
    let asked = request(Kind::Rolling, None, Loss::Never);
    let mut rollout = begin(Kind::Rolling, None, draft(&asked, &service, &world).unwrap());
    let steps = play(&mut rollout, &mut world, |_| Fate::Works);
    assert_eq!(
        words(&steps),
        [
            "start api@8001",
            "await-ready api@8001",
            "publish 8000 8001",
            "watch api@8001",
            "publish 8001",
            "drain api@8000",
            "stop api@8000",
            "start api@8000",
            "await-ready api@8000",
            "publish 8000 8001",
            "watch api@8000 api@8001",
            "publish 8000",
            "drain api@8001",
            "stop api@8001",
        ]
    );
    assert_eq!(rollout.outcome(), Some(Outcome::Done));
    assert_eq!(world.slots[&slot(BLUE)].release, Some(release("v2")));
}

#[test]
fn where_nothing_is_watched_there_is_no_publish_for_it() {
    let (mut world, service) = (both(Role::Serving), service("[8000, 8001]", "shared, watch: 0s"));
    let asked = request(Kind::Rolling, None, Loss::Never);
    let mut rollout = begin(Kind::Rolling, None, draft(&asked, &service, &world).unwrap());
    let steps = play(&mut rollout, &mut world, |_| Fate::Works);
    let publishes: Vec<_> =
        words(&steps).into_iter().filter(|step| step.starts_with("publish")).collect();
    assert_eq!(publishes, ["publish 8000", "publish 8001", "publish 8000 8001"]);
    let ready = steps.iter().position(|step| *step == Step::AwaitReady { slot: slot(GREEN) });
    let shown = steps.iter().rposition(|step| matches!(step, Step::Drain { .. }));
    assert!(ready < shown, "{:?}", words(&steps));
    assert_eq!(rollout.outcome(), Some(Outcome::Done));
}

#[test]
fn a_swap_is_one_publish_where_the_other_colour_is_warm() {
    let (mut world, service) = (both(Role::Backup), service("[8000, 8001]", "stopped"));
    let asked = request(Kind::Swap, None, Loss::Never);
    let mut rollout = begin(Kind::Swap, None, draft(&asked, &service, &world).unwrap());
    let steps = play(&mut rollout, &mut world, |_| Fate::Works);
    assert_eq!(words(&steps), ["publish 8000 (backup) 8001", "watch api@8001"]);
}

#[test]
fn a_swap_that_is_held_shows_nothing_to_clients_before() {
    let service = service("[8000, 8001]", "stopped");
    let asked = Request { pause: Pause::BeforeTraffic, ..request(Kind::Swap, None, Loss::Never) };
    let first = ["start api@8001", "await-ready api@8001", "publish 8000 8001 (preview)"];
    for (fate, then) in [
        (Fate::Works, vec!["hold api@8001", "publish 8000 (backup) 8001", "watch api@8001"]),
        (Fate::Fails, vec!["hold api@8001", "publish 8000", "drain api@8001", "stop api@8001"]),
    ] {
        let mut world = at_rest();
        let drafted = draft(&asked, &service, &world).unwrap();
        let preview = drafted.preview.clone().unwrap();
        assert_eq!((preview.slot, preview.most_ms), (slot(GREEN), 3_600_000));
        assert_eq!(preview.address.to_string(), "127.0.0.1:8001");
        let mut rollout = begin(Kind::Swap, None, drafted);
        let steps = play(&mut rollout, &mut world, |n| if n == 3 { fate } else { Fate::Works });
        assert_eq!(words(&steps), [first.to_vec(), then].concat());
        let expected = if fate == Fate::Works { Outcome::Done } else { Outcome::Undone };
        assert_eq!(rollout.outcome(), Some(expected));
    }
}

#[test]
fn a_rollback_is_one_publish_and_starts_nothing() {
    let (mut world, service) = (both(Role::Backup), service("[8000, 8001]", "stopped"));
    let asked = request(Kind::Rollback, None, Loss::Never);
    let mut rollout = begin(Kind::Rollback, None, draft(&asked, &service, &world).unwrap());
    let steps = play(&mut rollout, &mut world, |_| Fate::Works);
    assert_eq!(words(&steps), ["publish 8000 (backup) 8001"]);
    assert_eq!(rollout.release, Some(release("v1")), "what is warm, not what is configured");
    for cold in [Phase::Stopped, Phase::Unready, Phase::Failed, Phase::Starting, Phase::Hung] {
        world.slots.get_mut(&slot(BLUE)).unwrap().phase = cold;
        let refused = draft(&asked, &service, &world);
        assert!(matches!(refused, Err(Refusal::NothingWarm(..))), "{cold:?}");
    }
}

#[test]
fn a_failed_start_changes_nothing_but_the_spare_slot() {
    let (mut world, service) = (at_rest(), service("[8000, 8001]", "stopped"));
    let asked = request(Kind::Rolling, None, Loss::Never);
    let mut rollout = begin(Kind::Rolling, None, draft(&asked, &service, &world).unwrap());
    let fails_ready = |n| if n == 1 { Fate::Fails } else { Fate::Works };
    let steps = play(&mut rollout, &mut world, fails_ready);
    assert_eq!(words(&steps)[2..], ["stop api@8001"], "nginx never saw it: nothing to drain");
    assert_eq!(rollout.outcome(), Some(Outcome::Undone));
    let kept = (&world.slots[&slot(BLUE)], &world.members);
    assert_eq!(kept, (&at_rest().slots[&slot(BLUE)], &at_rest().members));
}

#[test]
fn after_the_old_one_was_stopped_there_is_no_way_back() {
    let (mut world, service) = (at_rest(), service("[8000, 8001]", "stopped"));
    let asked = request(Kind::Rolling, None, Loss::Never);
    let mut rollout = begin(Kind::Rolling, None, draft(&asked, &service, &world).unwrap());
    play(&mut rollout, &mut world, |n| if n == 8 { Fate::Fails } else { Fate::Works });
    assert_eq!((rollout.outcome(), rollout.committed), (Some(Outcome::Stuck), true));
    assert_eq!(world.members, Some(members(&[(GREEN, Role::Serving)])), "the new one serves");
}

#[test]
fn every_kind_ends_whatever_one_step_meets() {
    let scenes = [
        (Kind::Rolling, None, at_rest(), "stopped"),
        (Kind::Rolling, None, both(Role::Backup), "hot"),
        (Kind::Rolling, None, both(Role::Serving), "shared"),
        (Kind::Swap, None, at_rest(), "stopped"),
        (Kind::Swap, None, both(Role::Backup), "hot"),
        (Kind::Restart, Some(BLUE), both(Role::Backup), "hot"),
        (Kind::Restart, Some(GREEN), both(Role::Serving), "shared"),
        (Kind::Stop, Some(BLUE), both(Role::Backup), "hot"),
        (Kind::Start, Some(GREEN), at_rest(), "hot"),
        (Kind::Retire, Some(GREEN), both(Role::Backup), "stopped"),
        (Kind::Start, None, at_rest(), "shared"),
    ];
    for (kind, at, before, standby) in scenes {
        let service = service("[8000, 8001]", standby);
        let drafted = draft(&request(kind, at, Loss::Never), &service, &before).unwrap();
        for fate in [Fate::Fails, Fate::Forgotten, Fate::Unbegun] {
            for nth in 0..20 {
                let mut world = before.clone();
                let mut rollout = begin(kind, at, drafted.clone());
                play(&mut rollout, &mut world, |n| if n == nth { fate } else { Fate::Works });
                let serving = |role: &Role| *role == Role::Serving;
                assert!(world.members.iter().flat_map(|m| m.values()).any(serving), "{kind:?}");
                match rollout.outcome().unwrap() {
                    Outcome::Done => {}
                    Outcome::Undone => assert_same_service(&before, &world, kind, nth),
                    Outcome::Stuck => assert!(rollout.committed && fate == Fate::Fails),
                }
            }
        }
    }
}

fn assert_same_service(before: &World, after: &World, kind: Kind, nth: usize) {
    assert_eq!(before.members, after.members, "{kind:?} undone at step {nth}");
    for (slot, seen) in &before.slots {
        let now = &after.slots[slot];
        let up = |seen: &Seen| seen.phase.is_up().then(|| seen.release.clone());
        assert_eq!(up(seen), up(now), "{kind:?} undone at step {nth}, {slot}");
    }
}

#[test]
fn what_would_lose_requests_is_refused_unless_accepted() {
    let (world, service) = (at_rest(), service("[8000, 8001]", "stopped"));
    for kind in [Kind::Stop, Kind::Restart] {
        let refused = draft(&request(kind, Some(BLUE), Loss::Never), &service, &world);
        assert!(matches!(refused, Err(Refusal::LastMember(..))), "{kind:?}");
        assert!(draft(&request(kind, Some(BLUE), Loss::Accepted), &service, &world).is_ok());
    }
}

#[test]
fn one_slot_behind_nginx_cannot_roll_nor_swap() {
    let service = service("[8000]", "stopped");
    let world = World {
        slots: [(slot(BLUE), seen(Phase::Ready, Some("v1")))].into(),
        members: Some(members(&[(BLUE, Role::Serving)])),
        proof: Proof::Agreed,
    };
    let rolling = draft(&request(Kind::Rolling, None, Loss::Never), &service, &world);
    assert!(matches!(rolling, Err(Refusal::OneSlot(_))));
    let swap = draft(&request(Kind::Swap, None, Loss::Never), &service, &world);
    assert!(matches!(swap, Err(Refusal::OneSlot(_))));
}

#[test]
fn one_slot_rolls_by_force_and_goes_back_when_the_new_release_fails() {
    let service = service("[8000]", "stopped");
    let before = World {
        slots: [(slot(BLUE), seen(Phase::Ready, Some("v1")))].into(),
        members: Some(members(&[(BLUE, Role::Serving)])),
        proof: Proof::Agreed,
    };
    let asked = request(Kind::Rolling, None, Loss::Accepted);
    let drafted = draft(&asked, &service, &before).unwrap();
    for fails in [false, true] {
        let mut world = before.clone();
        let mut rollout = begin(Kind::Rolling, None, drafted.clone());
        let fate = |n| if fails && n == 2 { Fate::Fails } else { Fate::Works };
        let steps = words(&play(&mut rollout, &mut world, fate));
        let there = ["stop api@8000", "start api@8000", "await-ready api@8000"];
        assert_eq!(steps[..3], there);
        let (left, outcome) = if fails {
            assert_eq!(steps[3..], there, "the old release is started again");
            ("v1", Outcome::Undone)
        } else {
            assert_eq!(steps[3..], ["watch api@8000"]);
            ("v2", Outcome::Done)
        };
        assert_eq!(rollout.outcome(), Some(outcome));
        assert_eq!(world.slots[&slot(BLUE)].release, Some(release(left)));
    }
}

#[test]
fn a_forced_stop_of_the_last_member_leaves_it_named_as_down() {
    let (mut world, service) = (at_rest(), service("[8000, 8001]", "stopped"));
    let asked = request(Kind::Stop, Some(BLUE), Loss::Accepted);
    let mut rollout = begin(Kind::Stop, Some(BLUE), draft(&asked, &service, &world).unwrap());
    let steps = play(&mut rollout, &mut world, |_| Fate::Works);
    assert_eq!(words(&steps), ["publish 8000 (down)", "drain api@8000", "stop api@8000"]);
}

#[test]
fn a_whole_service_stops_by_force_and_starts_as_it_was_never_stopped() {
    for (standby, roles) in [
        ("stopped", vec![(BLUE, Role::Serving)]),
        ("hot", vec![(BLUE, Role::Serving), (GREEN, Role::Backup)]),
        ("shared", vec![(BLUE, Role::Serving), (GREEN, Role::Serving)]),
    ] {
        let (mut world, service) = (both(Role::Backup), service("[8000, 8001]", standby));
        let refused = draft(&request(Kind::Stop, None, Loss::Never), &service, &world);
        assert!(matches!(refused, Err(Refusal::Serves(_))), "{refused:?}");
        for (kind, loss) in [(Kind::Stop, Loss::Accepted), (Kind::Start, Loss::Never)] {
            let asked = request(kind, None, loss);
            let mut rollout = begin(kind, None, draft(&asked, &service, &world).unwrap());
            play(&mut rollout, &mut world, |_| Fate::Works);
            assert_eq!(rollout.outcome(), Some(Outcome::Done), "{standby} {kind:?}");
            let ups = world.slots.values().filter(|seen| seen.phase.is_up()).count();
            let expected = if kind == Kind::Stop { 0 } else { roles.len() };
            assert_eq!(ups, expected, "{standby} {kind:?}");
        }
        assert_eq!(world.members, Some(members(&roles)), "{standby}");
    }
}
