//! Lives against a model of the world: whatever happens, in whatever order.

mod any_order;
mod hanging;
mod policy;

use std::time::Duration;

use super::life::{
    Action, Event, Life, Manner, Policy, Question, Remedy, Rest, State, Then, Timer, next,
};
use crate::{
    config::{Check, How, Ready, Restart, RestartPolicy, Sign, Stop, StopSignal, Thresholds},
    ident::Generation,
};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ready() -> Ready {
    let thresholds = Thresholds { successes: 2, failures: 3 };
    let (how, interval, timeout) = (How::Tcp, seconds(1), seconds(1));
    let check = Check { how, interval, timeout, thresholds };
    Ready { sign: Sign::Asked(Box::new(check)), deadline: seconds(10) }
}

const STOP: Stop = Stop { signal: StopSignal::Term, deadline: seconds(20) };

fn restart() -> Restart {
    Restart {
        policy: RestartPolicy::Always,
        delay: seconds(1),
        factor: 2.0,
        cap: seconds(4),
        stable: seconds(30),
        limit: 3,
        window: None,
    }
}

/// Feeds events, and checks at each step what must always hold.
struct World {
    life: Life,
    startup: Option<Thresholds>,
    ready: Ready,
    hung: Remedy,
    restart: Restart,
    /// The tree that is alive, and how many there have been.
    tree: Option<Generation>,
    spawned: u64,
    /// What the kernel does with a tree that is to be ended.
    endings: Endings,
    actions: Vec<Action>,
    now: Duration,
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
            startup: None,
            ready: ready(),
            hung: Remedy::Restart,
            restart: restart(),
            tree: None,
            spawned: 0,
            endings: Endings::Work,
            actions: vec![],
            now: Duration::ZERO,
        }
    }

    fn with(policy: RestartPolicy) -> Self {
        Self { restart: Restart { policy, ..restart() }, ..Self::new() }
    }

    /// `event`, and the answers of a world in which every spawn works.
    fn feed(&mut self, event: Event) -> &mut Self {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let policy = Policy {
                startup: self.startup,
                ready: &self.ready,
                live: Some(Thresholds { successes: 2, failures: 2 }),
                hung: self.hung,
                stop: &STOP,
                restart: &self.restart,
                now: self.now,
                jitter: 0.0,
            };
            let (life, actions) = next(self.life.clone(), event, &policy);
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
                    Action::Terminate => {
                        assert!(self.tree.is_some(), "nobody to ask");
                    }
                    Action::Rest => {
                        assert!(matches!(self.life.state, State::Finished | State::Failed));
                        assert_eq!(self.tree, None, "it rests, and runs");
                    }
                    Action::Arm(..) | Action::Disarm(_) => {}
                }
            }
        }
        match self.life.state {
            // Only what could not be ended is both given up and there.
            State::Failed => {}
            State::Stopped | State::Backoff | State::Finished => {
                assert_eq!(self.tree, None, "P2: {:?}", self.life);
            }
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
        self.end_as(Manner::Failure)
    }

    fn end_as(&mut self, manner: Manner) -> &mut Self {
        let tree = self.tree.expect("something runs");
        self.feed(Event::Died(tree, manner))
    }

    fn pass(&mut self, times: u32) -> &mut Self {
        let tree = self.tree.expect("something runs");
        (0..times).for_each(|_| {
            self.feed(Event::Passed(Question::Ready, tree));
        });
        self
    }

    fn miss(&mut self, times: u32) -> &mut Self {
        let tree = self.tree.expect("something runs");
        (0..times).for_each(|_| {
            self.feed(Event::Failed(Question::Live, tree));
        });
        self
    }

    fn fail(&mut self, times: u32) -> &mut Self {
        let tree = self.tree.expect("something runs");
        (0..times).for_each(|_| {
            self.feed(Event::Failed(Question::Ready, tree));
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
fn what_has_outgrown_its_limit_is_asked_to_end_and_counts_as_a_death() {
    let mut world = World::new();
    world.feed(Event::Start).pass(2).feed(Event::Outgrown(Generation(1)));
    assert_eq!(world.life.state, State::Terminating(Generation(1), Then::Recover));
    assert!(world.actions.contains(&Action::Terminate));
    world.feed(Event::Outgrown(Generation(1))).feed(Event::Elapsed(Timer::StopDeadline));
    assert_eq!((world.life.state, world.life.restarts), (State::Starting(Generation(2)), 1));
    world.feed(Event::Outgrown(Generation(1)));
    assert_eq!(world.life.state, State::Starting(Generation(2)), "that was another one");
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

#[test]
fn one_that_has_come_up_is_not_ended_for_being_unready() {
    let mut world = World::new();
    world.startup = Some(Thresholds { successes: 2, failures: 3 });
    let up = Event::Passed(Question::Startup, Generation(1));
    let down = Event::Failed(Question::Startup, Generation(1));
    world.feed(Event::Start).feed(down).feed(down).feed(up).feed(down).feed(down).feed(up);
    assert_eq!(world.life.state, State::Starting(Generation(1)));
    assert_eq!(world.answer(up), [Action::Disarm(Timer::StartDeadline)]);
    assert_eq!(world.life.state, State::Unready(Generation(1)));
    world.fail(5).feed(Event::Elapsed(Timer::StartDeadline));
    assert_eq!(world.life.state, State::Unready(Generation(1)));
    assert_eq!(world.pass(2).life.state, State::Ready(Generation(1)));

    let mut world = World { startup: world.startup, ..World::new() };
    world.feed(Event::Start).feed(down).feed(down).feed(down);
    assert_eq!(world.life.state, State::Terminating(Generation(1), Then::Recover));
}
