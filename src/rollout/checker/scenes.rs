//! Where rollouts begin, and the searches from there.

use super::{Explored, Tally, check, reality::Reality, state::State};
use crate::{
    ident::Slot,
    instance::Phase,
    nginx::Role,
    rollout::{
        draft::{Pause, Request, draft},
        plan::next_step,
        plan_tests::{BLUE, GREEN, at_rest, begin, both, members, request, seen, service, slot},
        record::{Kind, Loss, Outcome},
        world::{Proof, Room, World},
    },
};

/// A service, how it stands, and what is asked of it.
struct Scene {
    name: &'static str,
    slots: &'static str,
    standby: &'static str,
    world: World,
    kind: Kind,
    at: Option<u16>,
    loss: Loss,
    pause: Pause,
}

impl Scene {
    fn begin(&self, faults: u8) -> State {
        let service = service(self.slots, self.standby);
        let asked = Request { pause: self.pause, ..request(self.kind, self.at, self.loss) };
        let drafted = draft(&asked, &service, &self.world).expect(self.name);
        let rollout = begin(self.kind, self.at, drafted);
        State::new(rollout, Reality::of(self.world.clone()), faults)
    }
}

pub(super) fn blue() -> Slot {
    slot(BLUE)
}

/// A rolling update of two slots.
pub(super) fn rolling(faults: u8) -> State {
    scenes()[0].begin(faults)
}

/// One slot, whose socket the daemon holds.
fn on_held_socket() -> World {
    let mut world = alone();
    world.slots.values_mut().for_each(|seen| seen.room = Room::Free);
    world
}

fn alone() -> World {
    let mut world = at_rest();
    world.slots.remove(&slot(GREEN));
    world
}

fn sick(mut world: World, port: u16, phase: Phase) -> World {
    if let Some(seen) = world.slots.get_mut(&slot(port)) {
        seen.phase = phase;
    }
    world
}

/// Blue has left the upstream, and is well again.
fn relieved() -> World {
    World { members: Some(members(&[(GREEN, Role::Serving)])), ..both(Role::Serving) }
}

/// The host has booted: both are meant to run, and nothing does.
fn booted() -> World {
    let mut world = both(Role::Backup);
    world.slots.values_mut().for_each(|seen| seen.phase = Phase::Stopped);
    world
}

fn stopped() -> World {
    let mut world = booted();
    world.slots.values_mut().for_each(|seen| seen.wanted = false);
    world.members = Some(members(&[(BLUE, Role::Down)]));
    world
}

fn unfronted() -> World {
    World {
        slots: [(slot(BLUE), seen(Phase::Ready, Some("v1")))].into(),
        members: None,
        proof: Proof::Agreed,
    }
}

/// A swap that waits before clients see the new colour.
pub(super) fn held_swap(faults: u8) -> State {
    let found = scenes().into_iter().find(|scene| scene.name == "swap, held");
    found.expect("a scene").begin(faults)
}

/// A swap whose new colour gets a part of the requests before it gets all.
pub(super) fn swap_by_shares(faults: u8) -> State {
    let found = scenes().into_iter().find(|scene| scene.name == "swap by shares");
    found.expect("a scene").begin(faults)
}

/// What `rollout` says then.
const IN_SHARES: &str = "stopped, canary: [10%, 60%]";
const BY_A_SHARE: &str = "stopped, canary: [50%]";

fn two(
    name: &'static str,
    standby: &'static str,
    world: World,
    kind: Kind,
    at: Option<u16>,
) -> Scene {
    Scene {
        name,
        slots: "[8000, 8001]",
        standby,
        world,
        kind,
        at,
        loss: Loss::Never,
        pause: Pause::Never,
    }
}

/// One of the two slots is not well when it begins.
fn ill_ones() -> Vec<Scene> {
    let ill = |world, phase| sick(world, BLUE, phase);
    let (shared, hot) = (|| both(Role::Serving), || both(Role::Backup));
    vec![
        two(
            "rolling update, one dead",
            "shared",
            ill(shared(), Phase::Failed),
            Kind::Rolling,
            None,
        ),
        two("rolling update, first dead", "hot", ill(hot(), Phase::Failed), Kind::Rolling, None),
        two("replace", "stopped", ill(at_rest(), Phase::Hung), Kind::Replace, Some(BLUE)),
        two("relieve", "shared", ill(shared(), Phase::Unready), Kind::Relieve, Some(BLUE)),
    ]
}

/// What is new is not watched.
fn unwatched() -> Vec<Scene> {
    let (shared, hot) = ("shared, watch: 0s", "hot, watch: 0s");
    let one_dead = || sick(both(Role::Serving), BLUE, Phase::Failed);
    let nobody = || World { members: Some(members(&[(BLUE, Role::Down)])), ..booted() };
    let rolling = |name, standby, world| two(name, standby, world, Kind::Rolling, None);
    vec![
        rolling("unwatched", "stopped, watch: 0s", at_rest()),
        rolling("unwatched, shared", shared, both(Role::Serving)),
        rolling("unwatched, hot", hot, both(Role::Backup)),
        rolling("unwatched, one dead", shared, one_dead()),
        rolling("unwatched, nobody serves", shared, nobody()),
        rolling("unwatched, by a share", "stopped, watch: 0s, canary: [10%]", at_rest()),
        two("reconfigure, unwatched", hot, both(Role::Backup), Kind::Reconfigure, None),
    ]
}

fn scenes() -> Vec<Scene> {
    let one = |name, world, kind, at, loss| Scene {
        name,
        slots: "[8000]",
        standby: "stopped",
        world,
        kind,
        at,
        loss,
        pause: Pause::Never,
    };
    let held = |scene| Scene { pause: Pause::BeforeTraffic, ..scene };
    let remove = two("remove", "stopped", both(Role::Backup), Kind::Remove, None);
    let well = vec![
        two("rolling update", "stopped", at_rest(), Kind::Rolling, None),
        two("rolling update, hot", "hot", both(Role::Backup), Kind::Rolling, None),
        two("rolling update, shared", "shared", both(Role::Serving), Kind::Rolling, None),
        two("swap", "stopped", at_rest(), Kind::Swap, None),
        two("swap, warm", "stopped", both(Role::Backup), Kind::Swap, None),
        held(two("swap, held", "stopped", at_rest(), Kind::Swap, None)),
        held(two("swap, warm and held", "hot", both(Role::Backup), Kind::Swap, None)),
        two("swap by shares", IN_SHARES, at_rest(), Kind::Swap, None),
        held(two(
            "swap by shares, warm and held",
            BY_A_SHARE,
            both(Role::Backup),
            Kind::Swap,
            None,
        )),
        two("rolling update by shares", BY_A_SHARE, at_rest(), Kind::Rolling, None),
        two("rollback", "stopped", both(Role::Backup), Kind::Rollback, None),
        two("restart", "hot", both(Role::Backup), Kind::Restart, Some(BLUE)),
        two("restart, shared", "shared", both(Role::Serving), Kind::Restart, Some(GREEN)),
        two("stop", "hot", both(Role::Backup), Kind::Stop, Some(BLUE)),
        two("start", "hot", at_rest(), Kind::Start, Some(GREEN)),
        two("retire", "stopped", both(Role::Backup), Kind::Retire, Some(GREEN)),
        two("reconfigure", "hot", both(Role::Backup), Kind::Reconfigure, None),
        two("restore", "hot", relieved(), Kind::Restore, Some(BLUE)),
        two("boot", "hot", booted(), Kind::Boot, None),
        two("start of all", "shared", stopped(), Kind::Start, None),
        Scene { loss: Loss::Accepted, ..remove },
        one("rolling update in one held slot", on_held_socket(), Kind::Rolling, None, Loss::Never),
        one("restart in one held slot", on_held_socket(), Kind::Restart, Some(BLUE), Loss::Never),
        one("rolling update by force", alone(), Kind::Rolling, None, Loss::Accepted),
        one("rolling update without nginx", unfronted(), Kind::Rolling, None, Loss::Never),
    ];
    well.into_iter().chain(unwatched()).chain(ill_ones()).collect()
}

/// How many faults each rollout meets, at most. `AIBK_CHECKER_FAULTS` asks for more.
fn depth() -> u8 {
    let asked = std::env::var("AIBK_CHECKER_FAULTS").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(2)
}

#[test]
fn every_interleaving_keeps_the_invariants_and_ends() {
    let mut total = Tally::default();
    for scene in scenes() {
        let found = check(scene.begin(depth()), next_step);
        let tally = found.unwrap_or_else(|broken| panic!("{}: {broken:#?}", scene.name));
        println!("{:34} {tally:?}", scene.name);
        total.states += tally.states;
        total.moves += tally.moves;
    }
    println!("visited {} states by {} moves", total.states, total.moves);
}

#[test]
fn one_fault_before_the_point_of_no_return_is_undone() {
    for scene in scenes() {
        let explored = Explored::new(scene.begin(1), next_step).expect(scene.name);
        for (at, state) in explored.states.iter().enumerate() {
            let stuck = state.outcome() == Some(Outcome::Stuck) && !state.durable.committed;
            let path = stuck.then(|| explored.violation(at, scene.name.to_owned()));
            assert!(!stuck, "{path:#?}");
        }
    }
}
