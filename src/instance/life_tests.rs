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
    actions: Vec<Action>,
}

impl World {
    fn new() -> Self {
        Self {
            life: Life::default(),
            ready: ready(),
            restart: restart(),
            tree: None,
            spawned: 0,
            actions: vec![],
        }
    }

    /// `event`, and the answers of a world in which every effect works.
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
                    Action::End => {
                        let tree = self.tree.take().expect("only what runs is ended");
                        events.push(Event::Ended(tree));
                    }
                    Action::Terminate => assert!(self.tree.is_some(), "nobody to ask"),
                    Action::Arm(..) | Action::Disarm(_) => {}
                }
            }
        }
        let up = !matches!(self.life.state, State::Stopped | State::Failed | State::Backoff);
        assert_eq!(self.tree.is_some(), up, "P2: {:?} with {:?}", self.life.state, self.tree);
        self
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
fn what_cannot_be_ended_is_failed_and_never_replaced() {
    let mut world = World::new();
    world.feed(Event::Start).pass(2);
    let (ready, restart) = (ready(), restart());
    let policy = Policy { ready: &ready, stop: &STOP, restart: &restart, jitter: 0.0 };
    let (dying, _) = next(world.life, Event::Died(Generation(1)), &policy);
    let (life, actions) = next(dying, Event::EndFailed(Generation(1)), &policy);
    assert_eq!((life.state, actions), (State::Failed, vec![]));
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
}

fn happening() -> impl Strategy<Value = Happening> {
    let timers = prop_oneof![
        Just(Timer::StartDeadline),
        Just(Timer::StopDeadline),
        Just(Timer::Backoff),
        Just(Timer::Stable)
    ];
    prop_oneof![
        1 => Just(Happening::Start),
        1 => Just(Happening::Stop),
        3 => Just(Happening::Die),
        4 => Just(Happening::Pass),
        2 => Just(Happening::Fail),
        1 => (0_u64..50).prop_map(Happening::Stale),
        3 => timers.prop_map(Happening::Elapse),
    ]
}

proptest! {
    /// `P2` and `P3` are asserted inside `feed`, at each step.
    #[test]
    fn no_order_of_events_makes_two_trees(happenings in prop::collection::vec(happening(), 0..60)) {
        let mut world = World::new();
        for happening in happenings {
            let alive = world.tree;
            match (happening, alive) {
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
