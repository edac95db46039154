//! Lives against a model of the world: whatever happens, in whatever order.

use std::time::Duration;

use proptest::prelude::*;

use super::life::{Action, Event, Life, Policy, State, Then, Timer, next};
use crate::{
    config::{Probe, Ready, Restart, Stop, StopSignal},
    ident::Generation,
};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ready() -> Ready {
    Ready {
        probe: Probe::Alive { after: Duration::ZERO },
        interval: seconds(1),
        timeout: seconds(1),
        successes: 2,
        failures: 3,
        deadline: seconds(10),
    }
}

const STOP: Stop = Stop { signal: StopSignal::Term, deadline: seconds(20) };

fn restart() -> Restart {
    Restart { delay: seconds(1), factor: 2.0, cap: seconds(4), stable: seconds(30), limit: 3 }
}

/// Feeds events, and checks at each step what must always hold.
struct World {
    life: Life,
    ready: Ready,
    restart: Restart,
    /// The tree that is alive, and how many there have been.
    tree: Option<Generation>,
    spawned: u64,
    /// What the kernel does with a tree that is to be ended.
    endings: Endings,
    actions: Vec<Action>,
}

/// How an attempt to end a tree goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endings {
    /// It is gone, and its port is free.
    Work,
    /// A process of it cannot be killed.
    TreeStays,
    /// It is gone, but somebody holds its port.
    PortIsHeld,
}

impl World {
    fn new() -> Self {
        Self {
            life: Life::default(),
            ready: ready(),
            restart: restart(),
            tree: None,
            spawned: 0,
            endings: Endings::Work,
            actions: vec![],
        }
    }

    /// `event`, and the answers of a world in which every spawn works.
    fn feed(&mut self, event: Event) -> &mut Self {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let policy =
                Policy { ready: &self.ready, stop: &STOP, restart: &self.restart, jitter: 0.0 };
            let (life, actions) = next(self.life, event, &policy);
            self.life = life;
            for action in actions {
                self.actions.push(action);
                match action {
                    Action::Spawn => {
                        assert_eq!(self.tree, None, "P3: two trees in one slot");
                        self.spawned += 1;
                        self.tree = Some(Generation(self.spawned));
                        events.push(Event::Spawned(Generation(self.spawned)));
                    }
                    Action::End => events.push(self.end()),
                    Action::Terminate => assert!(self.tree.is_some(), "nobody to ask"),
                    Action::Arm(..) | Action::Disarm(_) => {}
                }
            }
        }
        match self.life.state {
            // Only what could not be ended is both given up and there.
            State::Failed => {}
            State::Stopped | State::Backoff => assert_eq!(self.tree, None, "P2: {:?}", self.life),
            _ => assert!(self.tree.is_some(), "nothing runs: {:?}", self.life),
        }
        self
    }

    fn end(&mut self) -> Event {
        let (worked, failed) = match self.life.state {
            State::Ending(g, _) => (Event::Ended(g), Event::EndFailed(g)),
            State::Clearing(_) => (Event::Cleared, Event::NotCleared),
            other => panic!("nothing is to be ended: {other:?}"),
        };
        if self.endings != Endings::TreeStays {
            self.tree = None;
        }
        if self.endings == Endings::Work { worked } else { failed }
    }

    /// A tree of an earlier daemon was taken over.
    fn adopting(left: Option<Duration>) -> Self {
        let mut world = Self { tree: Some(Generation(1)), spawned: 1, ..Self::new() };
        world.feed(Event::Adopted(Generation(1), left));
        world
    }

    /// What was asked for by `event` alone.
    fn answer(&mut self, event: Event) -> Vec<Action> {
        self.actions.clear();
        self.feed(event);
        self.actions.clone()
    }

    fn die(&mut self) -> &mut Self {
        let tree = self.tree.expect("something runs");
        self.feed(Event::Died(tree))
    }

    fn pass(&mut self, times: u32) -> &mut Self {
        let tree = self.tree.expect("something runs");
        (0..times).for_each(|_| {
            self.feed(Event::ProbePassed(tree));
        });
        self
    }

    fn fail(&mut self, times: u32) -> &mut Self {
        let tree = self.tree.expect("something runs");
        (0..times).for_each(|_| {
            self.feed(Event::ProbeFailed(tree));
        });
        self
    }
}

#[test]
fn it_is_ready_after_successes_in_a_row() {
    let mut world = World::new();
    world.feed(Event::Start).pass(1).fail(1).pass(1);
    assert_eq!(world.life.state, State::Starting(Generation(1)));
    world.pass(1);
    assert_eq!(world.life.state, State::Ready(Generation(1)));
    world.fail(2).pass(1).fail(2);
    assert_eq!(world.life.state, State::Ready(Generation(1)));
    world.fail(1);
    assert_eq!(world.life.state, State::Unready(Generation(1)));
    world.pass(2);
    assert_eq!(world.life.state, State::Ready(Generation(1)));
}

#[test]
fn the_first_death_costs_nothing_and_a_crash_loop_ends() {
    let mut world = World::new();
    world.feed(Event::Start).die();
    assert_eq!(world.life.state, State::Starting(Generation(2)));
    world.die();
    assert_eq!(world.life.state, State::Backoff);
    assert_eq!(world.actions.last(), Some(&Action::Arm(Timer::Backoff, seconds(1))));
    world.feed(Event::Elapsed(Timer::Backoff)).die();
    assert_eq!(world.actions.last(), Some(&Action::Arm(Timer::Backoff, seconds(2))));
    world.feed(Event::Elapsed(Timer::Backoff)).die();
    assert_eq!((world.life.state, world.life.restarts), (State::Failed, 3));
    world.feed(Event::Start);
    assert_eq!((world.life.state, world.life.restarts), (State::Starting(Generation(5)), 0));
}

#[test]
fn stable_uptime_forgives() {
    let mut world = World::new();
    world.feed(Event::Start).die();
    world.pass(2).feed(Event::Elapsed(Timer::Stable)).die();
    assert_eq!(world.life.state, State::Starting(Generation(3)), "at once again");
}

#[test]
fn a_start_that_is_never_ready_counts_as_a_death() {
    let mut world = World::new();
    world.feed(Event::Start).feed(Event::Elapsed(Timer::StartDeadline));
    assert_eq!(world.life.state, State::Terminating(Generation(1), Then::Recover));
    world.feed(Event::Elapsed(Timer::StopDeadline));
    assert_eq!(world.life.state, State::Starting(Generation(2)));
}

#[test]
fn a_stop_is_asked_for_first_and_enforced_at_its_deadline() {
    let mut world = World::new();
    world.feed(Event::Start).pass(2).feed(Event::Stop);
    assert!(world.actions.contains(&Action::Terminate));
    assert_eq!(world.actions.last(), Some(&Action::Arm(Timer::StopDeadline, seconds(20))));
    world.feed(Event::Elapsed(Timer::StopDeadline));
    assert_eq!(world.life.state, State::Stopped);
}

#[test]
fn what_cannot_be_ended_is_failed_and_ended_again_before_anything_else() {
    for order in [Event::Start, Event::Stop] {
        let mut world = World::new();
        world.feed(Event::Start).pass(2);
        world.endings = Endings::TreeStays;
        world.die();
        assert_eq!((world.life.state, world.tree), (State::Failed, Some(Generation(1))));
        assert!(world.answer(order).contains(&Action::End), "{order:?}");
        assert_eq!((world.life.state, world.tree), (State::Failed, Some(Generation(1))));
        world.endings = Endings::Work;
        world.feed(order);
        let reached = match order {
            Event::Stop => State::Stopped,
            _ => State::Starting(Generation(2)),
        };
        assert_eq!(world.life.state, reached);
    }
}

#[test]
fn one_that_waits_is_stopped_only_when_its_port_is_free() {
    let mut world = World::new();
    world.feed(Event::Start).die().die();
    assert_eq!(world.life.state, State::Backoff);
    world.endings = Endings::PortIsHeld;
    assert!(world.answer(Event::Stop).contains(&Action::Disarm(Timer::Backoff)));
    assert_eq!(world.life.state, State::Failed);
    world.endings = Endings::Work;
    world.feed(Event::Stop);
    assert_eq!(world.life.state, State::Stopped);
}

/// `P4`: the dependency that is down is no reason to end what another daemon left serving.
#[test]
fn an_adopted_one_that_is_unready_is_left_alone() {
    let mut world = World::adopting(None);
    assert_eq!(world.life.state, State::Unready(Generation(1)));
    assert_eq!(world.actions, []);
    world.fail(5).feed(Event::Elapsed(Timer::StartDeadline));
    assert_eq!(world.life.state, State::Unready(Generation(1)));
    world.pass(2);
    assert_eq!(world.life.state, State::Ready(Generation(1)));
}

#[test]
fn an_adopted_one_that_is_young_has_the_rest_of_its_start_deadline() {
    let mut world = World::adopting(Some(seconds(3)));
    assert_eq!(world.life.state, State::Starting(Generation(1)));
    assert_eq!(world.actions, [Action::Arm(Timer::StartDeadline, seconds(3))]);
    world.feed(Event::Elapsed(Timer::StartDeadline));
    assert_eq!(world.life.state, State::Terminating(Generation(1), Then::Recover));
}

#[test]
fn an_adopted_one_may_have_requests_to_finish() {
    for left in [None, Some(seconds(3))] {
        let stopping = World::adopting(left).answer(Event::Stop);
        assert_eq!(stopping.last(), Some(&Action::Arm(Timer::StopDeadline, STOP.deadline)));
    }
    let ours = World::new().feed(Event::Start).answer(Event::Stop);
    assert_eq!(ours.last(), Some(&Action::Arm(Timer::StopDeadline, seconds(5))));
}

#[test]
fn what_cannot_be_adopted_is_not_started_beside() {
    let mut world = World::new();
    world.tree = Some(Generation(1));
    assert_eq!(world.answer(Event::NotAdopted), []);
    assert_eq!(world.life.state, State::Failed);
}

#[derive(Debug, Clone, Copy)]
enum Happening {
    Start,
    Stop,
    Die,
    Pass,
    Fail,
    Stale(u64),
    Elapse(Timer),
    World(Endings),
}

fn happening() -> impl Strategy<Value = Happening> {
    let timers = prop_oneof![
        Just(Timer::StartDeadline),
        Just(Timer::StopDeadline),
        Just(Timer::Backoff),
        Just(Timer::Stable)
    ];
    let endings =
        prop_oneof![Just(Endings::Work), Just(Endings::TreeStays), Just(Endings::PortIsHeld)];
    prop_oneof![
        1 => Just(Happening::Start),
        1 => Just(Happening::Stop),
        3 => Just(Happening::Die),
        4 => Just(Happening::Pass),
        2 => Just(Happening::Fail),
        1 => (0_u64..50).prop_map(Happening::Stale),
        3 => timers.prop_map(Happening::Elapse),
        1 => endings.prop_map(Happening::World),
    ]
}

proptest! {
    /// `P2` and `P3` are asserted inside `feed`, at each step.
    #[test]
    fn no_order_of_events_makes_two_trees(happenings in prop::collection::vec(happening(), 0..60)) {
        let mut world = World::new();
        for happening in happenings {
            // What could not be ended is neither probed nor watched any more.
            let alive = world.tree.filter(|_| world.life.state != State::Failed);
            match (happening, alive) {
                (Happening::World(endings), _) => world.endings = endings,
                (Happening::Start, _) => { world.feed(Event::Start); }
                (Happening::Stop, _) => { world.feed(Event::Stop); }
                (Happening::Die, Some(_)) => { world.die(); }
                (Happening::Pass, Some(_)) => { world.pass(1); }
                (Happening::Fail, Some(_)) => { world.fail(1); }
                (Happening::Elapse(timer), _) => { world.feed(Event::Elapsed(timer)); }
                (Happening::Stale(generation), _) if alive != Some(Generation(generation)) => {
                    let before = world.life;
                    for event in [Event::Died, Event::ProbePassed, Event::ProbeFailed, Event::Ended] {
                        world.feed(event(Generation(generation)));
                    }
                    prop_assert_eq!(before, world.life, "events of another generation are ignored");
                }
                _ => {}
            }
        }
    }
}
