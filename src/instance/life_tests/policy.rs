//! What follows when an instance ends, by its restart policy.

use super::*;

#[test]
fn what_follows_an_end_is_the_policys_to_say() {
    use Manner::{Clean, Failure};
    use RestartPolicy::{Always, Never, OnFailure};
    let again = State::Starting(Generation(2));
    for (policy, manner, expected) in [
        (Always, Clean, again),
        (Always, Failure, again),
        (OnFailure, Clean, State::Finished),
        (OnFailure, Failure, again),
        (Never, Clean, State::Finished),
        (Never, Failure, State::Failed),
    ] {
        for ready in [0, 2] {
            let mut world = World::with(policy);
            world.feed(Event::Start).pass(ready).end_as(manner);
            assert_eq!(world.life.state, expected, "{policy:?} {manner:?}");
            let rests = world.actions.last() == Some(&Action::Rest);
            assert_eq!(rests, expected != again, "{policy:?} {manner:?}");
        }
    }
}

/// It was asked to end because it was not ready: how it then ends says nothing.
#[test]
fn a_start_that_is_never_ready_is_a_failure_however_it_ends() {
    for (policy, expected) in [
        (RestartPolicy::OnFailure, State::Starting(Generation(2))),
        (RestartPolicy::Never, State::Failed),
    ] {
        let mut world = World::with(policy);
        world.feed(Event::Start).feed(Event::Elapsed(Timer::StartDeadline)).end_as(Manner::Clean);
        assert_eq!(world.life.state, expected);
    }
}

#[test]
fn what_ends_because_it_was_asked_to_is_neither_finished_nor_failed() {
    for policy in [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never] {
        for manner in [Manner::Clean, Manner::Failure] {
            let mut world = World::with(policy);
            world.feed(Event::Start).pass(2).feed(Event::Stop).end_as(manner);
            assert_eq!(world.life.state, State::Stopped);
            world.feed(Event::Start).pass(2).feed(Event::Start).end_as(manner);
            assert_eq!(world.life.state, State::Starting(Generation(3)));
        }
    }
}

#[test]
fn a_window_counts_deaths_whatever_is_between_them() {
    let mut world = World::new();
    world.restart.window = Some(seconds(100));
    world.feed(Event::Start);
    for death in 1..=3 {
        world.now = seconds(death * 30);
        world.pass(2).feed(Event::Elapsed(Timer::Stable)).die();
        assert!(world.tree.is_some(), "death {death}: {:?}", world.life);
    }
    world.now = seconds(131);
    world.pass(2).feed(Event::Elapsed(Timer::Stable)).die();
    assert!(world.tree.is_some(), "the first death was more than 100 s ago");
    world.now = seconds(140);
    world.pass(2).feed(Event::Elapsed(Timer::Stable)).die();
    assert_eq!(world.life.state, State::Failed);
}

#[test]
fn forgiveness_stops_what_has_failed_and_counts_anew() {
    let mut world = World::new();
    world.feed(Event::Start).die().feed(Event::Forgive).die();
    assert_eq!(world.life.state, State::Starting(Generation(3)), "at once again");
    for _ in 0..3 {
        world.die().feed(Event::Elapsed(Timer::Backoff));
    }
    assert_eq!((world.life.state, world.life.restarts), (State::Failed, 3));
    world.endings = Endings::PortIsHeld;
    world.feed(Event::Forgive);
    assert_eq!(world.life.state, State::Failed, "its port is still held");
    world.endings = Endings::Work;
    world.feed(Event::Forgive);
    assert_eq!((world.life.state, world.life.restarts), (State::Stopped, 0));
    assert_eq!(world.life, Life::default());
}

#[test]
fn what_an_earlier_daemon_left_resting_is_left_so() {
    for (rest, state) in [
        (Rest::Finished, State::Finished),
        (Rest::Failed, State::Failed),
        (Rest::Stopped, State::Stopped),
    ] {
        let mut world = World::new();
        assert_eq!(world.answer(Event::Found(rest)), []);
        assert_eq!(world.life.state, state);
        world.feed(Event::Start);
        assert_eq!(world.life.state, State::Starting(Generation(1)));
    }
}

#[test]
fn what_vanished_is_a_failure() {
    for (policy, expected) in [
        (RestartPolicy::Always, State::Starting(Generation(1))),
        (RestartPolicy::OnFailure, State::Starting(Generation(1))),
        (RestartPolicy::Never, State::Failed),
    ] {
        let mut world = World::with(policy);
        world.feed(Event::Vanished);
        assert_eq!(world.life.state, expected);
    }
}
