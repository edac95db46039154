use super::*;
use crate::{
    config::Config,
    ident::{Port, ReleaseId, RolloutId},
    rollout::{
        draft,
        plan_tests::begun,
        world::{Room, Seen},
    },
};

const BLUE: u16 = 8000;
const GREEN: u16 = 8001;

fn slot(port: u16) -> Slot {
    Slot::Port(Port::new(port).unwrap())
}

fn service(standby: &str) -> Service {
    let text = format!(
        "nginx: {{}}\nservices: {{api: {{app: 'a:b', directory: /srv, slots: [8000, 8001], \
         rollout: {{standby: {standby}}}}}}}\n"
    );
    let config = Config::parse(&text, std::path::Path::new("/a.yaml")).unwrap();
    Service::clone(config.services.values().next().unwrap())
}

fn world(blue: (Phase, Option<Role>), green: (Phase, Option<Role>)) -> World {
    let release = Release { id: ReleaseId("v1".to_owned()), directory: "/srv/v1".into() };
    let seen = |phase| Seen {
        phase,
        wanted: true,
        release: Some(release.clone()),
        generation: Some(Generation(1)),
        rollout: None,
        rest: None,
        room: Room::None,
    };
    let member = |port, role: Option<Role>| role.map(|role| (Port::new(port).unwrap(), role));
    World {
        slots: [(slot(BLUE), seen(blue.0)), (slot(GREEN), seen(green.0))].into(),
        members: Some(member(BLUE, blue.1).into_iter().chain(member(GREEN, green.1)).collect()),
        proof: Proof::Agreed,
    }
}

const ALL: [Phase; 10] = [
    Phase::Stopped,
    Phase::Starting,
    Phase::Ready,
    Phase::Unready,
    Phase::Hung,
    Phase::Backoff,
    Phase::Stopping,
    Phase::Ending,
    Phase::Failed,
    Phase::Finished,
];
const SERVING: Option<Role> = Some(Role::Serving);

/// Nothing was done for it yet, and nothing of it has died.
fn decided(world: &World) -> Option<Care> {
    let (tried, fallen) = (Tried::new(), BTreeSet::new());
    decide(&service("shared"), world, Past { relieved: None, tried: &tried, fallen: &fallen })
}

#[test]
fn a_member_is_relieved_only_while_another_one_is_well() {
    for sick in ALL {
        for other in ALL {
            let care = decided(&world((sick, SERVING), (other, SERVING)));
            let relieved = care == Some(Care::Begin(Kind::Relieve, slot(BLUE)));
            let is_sick = matches!(sick, Phase::Unready | Phase::Failed | Phase::Finished);
            assert_eq!(relieved, is_sick && other == Phase::Ready, "{sick:?} {other:?}: {care:?}");
        }
    }
    let (tried, fallen) = (Tried::new(), BTreeSet::from([slot(BLUE)]));
    let past = Past { relieved: None, tried: &tried, fallen: &fallen };
    for dead in [Phase::Ending, Phase::Backoff, Phase::Starting] {
        let again = world((dead, SERVING), (Phase::Ready, SERVING));
        let care = decide(&service("shared"), &again, past);
        assert_eq!(care, Some(Care::Begin(Kind::Relieve, slot(BLUE))), "{dead:?}");
        assert_eq!(decided(&again), None, "it is only starting");
        let alone = world((dead, SERVING), (Phase::Starting, SERVING));
        assert_eq!(decide(&service("shared"), &alone, past), None, "nobody else is well");
    }
    let out = world((Phase::Unready, None), (Phase::Ready, SERVING));
    assert_eq!(decided(&out), None, "it has no traffic already");
    let unknown = world((Phase::Unready, SERVING), (Phase::Ready, None));
    assert_eq!(decided(&unknown), None, "the other one is no member");
}

#[test]
fn what_hangs_is_replaced_once_where_another_one_can_be() {
    for other in ALL {
        let seen = world((Phase::Hung, SERVING), (other, None));
        let care = decided(&seen);
        let replaced = care == Some(Care::Begin(Kind::Replace, slot(BLUE)));
        let may = matches!(other, Phase::Ready | Phase::Starting | Phase::Stopped);
        assert_eq!(replaced, may, "{other:?}: {care:?}");
        assert!(replaced || care == Some(Care::Forsake), "{other:?}: {care:?}");
        let (tried, fallen) = (Tried::from([(slot(BLUE), Generation(1))]), BTreeSet::new());
        let past = Past { relieved: None, tried: &tried, fallen: &fallen };
        assert_eq!(decide(&service("hot"), &seen, past), Some(Care::Forsake));
    }
    let backup = world((Phase::Ready, SERVING), (Phase::Hung, Some(Role::Backup)));
    assert_eq!(decided(&backup), Some(Care::Forsake), "it has no traffic to be taken over");
    let mut down = world((Phase::Hung, SERVING), (Phase::Ready, SERVING));
    down.proof = Proof::Down;
    assert_eq!(decided(&down), Some(Care::Forsake), "nginx could not be told");
}

/// A rollout that was asked for, driven to `outcome`.
fn ended(kind: Kind, outcome: Outcome) -> Rollout {
    let seen = world((Phase::Unready, SERVING), (Phase::Ready, SERVING));
    let mut rollout = drafted(kind, &service("shared"), &seen);
    rollout.end(outcome, 1);
    rollout
}

fn drafted(kind: Kind, service: &Service, world: &World) -> Rollout {
    let current = Release { id: ReleaseId("v1".to_owned()), directory: "/srv/v1".into() };
    let slot = Some(slot(BLUE));
    let request = Request { slot, ..Request::of(kind, current) };
    begun(RolloutId(7), kind, slot, draft::draft(&request, service, world).unwrap())
}

#[test]
fn only_what_was_relieved_last_is_restored() {
    let back = world((Phase::Ready, None), (Phase::Ready, SERVING));
    let shared = service("shared");
    for (kind, outcome, restored) in [
        (Kind::Relieve, Outcome::Done, true),
        (Kind::Relieve, Outcome::Undone, false),
        (Kind::Stop, Outcome::Done, false),
    ] {
        let last = ended(kind, outcome);
        let (tried, fallen) = (Tried::new(), BTreeSet::new());
        let past = Past { relieved: relieved_by(&last), tried: &tried, fallen: &fallen };
        let care = decide(&shared, &back, past);
        let expected = restored.then_some(Care::Begin(Kind::Restore, slot(BLUE)));
        assert_eq!(care, expected, "{kind:?} {outcome:?}");
    }
    assert_eq!(
        rest(&ended(Kind::Relieve, Outcome::Undone), 1_000_001),
        AGAIN.checked_sub(Duration::from_secs(1))
    );
    assert_eq!(rest(&ended(Kind::Relieve, Outcome::Done), 2), None);
}
