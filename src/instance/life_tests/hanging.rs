//! What gives no sign of life.

use super::*;

#[test]
fn one_that_hangs_is_roused_ended_and_started_again() {
    for unready in [false, true] {
        let mut world = World::new();
        world.feed(Event::Start).pass(2).fail(if unready { 3 } else { 0 }).miss(1);
        let beat = Event::Passed(Question::Live, Generation(1));
        assert_eq!(world.answer(beat), [], "one sign of life is enough");
        world.miss(1).actions.clear();
        world.miss(1);
        assert_eq!(world.life.state, State::Terminating(Generation(1), Then::Recover));
        assert!(world.actions.contains(&Action::Terminate));
        assert_eq!(world.actions.last(), Some(&Action::Arm(Timer::StopDeadline, seconds(2))));
        world.feed(Event::Elapsed(Timer::StopDeadline));
        assert_eq!(world.life.state, State::Starting(Generation(2)), "at once");
        assert_eq!(world.life.restarts, 1);
    }
}

#[test]
fn one_that_hangs_waits_for_its_successor_but_not_for_ever() {
    let hung = || {
        let mut world = World { hung: Remedy::Successor(seconds(60)), ..World::new() };
        world.feed(Event::Start).pass(2).miss(1);
        let waits = world.answer(Event::Failed(Question::Live, Generation(1)));
        assert_eq!(waits.last(), Some(&Action::Arm(Timer::Successor, seconds(60))));
        assert_eq!(world.life.state, State::Hung(Generation(1)));
        world
    };
    for event in [Event::Forsaken, Event::Elapsed(Timer::Successor)] {
        let mut world = hung();
        assert!(world.answer(event).contains(&Action::Terminate));
        assert_eq!(world.life.state, State::Terminating(Generation(1), Then::Recover));
    }
    let mut replaced = hung();
    assert!(replaced.answer(Event::Stop).contains(&Action::Disarm(Timer::Successor)));
    assert_eq!(replaced.die().life.state, State::Stopped);
    let mut awake = hung();
    let beat = Event::Passed(Question::Live, Generation(1));
    awake.feed(beat).miss(1).feed(beat);
    assert_eq!(awake.life.state, State::Hung(Generation(1)), "not two in a row");
    assert_eq!(awake.answer(beat), [Action::Disarm(Timer::Successor)]);
    assert_eq!(awake.life.state, State::Unready(Generation(1)));
}
