//! Anything that can happen, in any order.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Happening {
    Start,
    Stop,
    Forgive,
    Die(Manner),
    Pass,
    Fail,
    Beat(Question),
    Miss,
    Forsake,
    Stale(u64),
    Elapse(Timer),
    World(Endings),
}

fn happening() -> impl Strategy<Value = Happening> {
    let timers = prop_oneof![
        Just(Timer::StartDeadline),
        Just(Timer::StopDeadline),
        Just(Timer::Backoff),
        Just(Timer::Stable),
        Just(Timer::Successor)
    ];
    let endings =
        prop_oneof![Just(Endings::Work), Just(Endings::TreeStays), Just(Endings::PortIsHeld)];
    prop_oneof![
        1 => Just(Happening::Start),
        1 => Just(Happening::Stop),
        1 => Just(Happening::Forgive),
        3 => prop_oneof![Just(Manner::Clean), Just(Manner::Failure)].prop_map(Happening::Die),
        4 => Just(Happening::Pass),
        2 => Just(Happening::Fail),
        1 => prop_oneof![Just(Question::Startup), Just(Question::Live)].prop_map(Happening::Beat),
        3 => Just(Happening::Miss),
        1 => Just(Happening::Forsake),
        1 => (0_u64..50).prop_map(Happening::Stale),
        3 => timers.prop_map(Happening::Elapse),
        1 => endings.prop_map(Happening::World),
    ]
}

proptest! {
    /// `P2` and `P3` are asserted inside `feed`, at each step.
    #[test]
    fn no_order_of_events_makes_two_trees(
        happenings in prop::collection::vec(happening(), 0..60),
        policy in prop_oneof![
            Just(RestartPolicy::Always),
            Just(RestartPolicy::OnFailure),
            Just(RestartPolicy::Never)
        ],
        opens: bool,
        succession: bool,
    ) {
        let mut world = World::with(policy);
        world.startup = opens.then_some(Thresholds { successes: 1, failures: 3 });
        if succession {
            world.hung = Remedy::Successor(seconds(60));
        }
        let mut started = 0;
        for happening in happenings {
            // What could not be ended is neither probed nor watched any more.
            let alive = world.tree.filter(|_| world.life.state != State::Failed);
            match (happening, alive) {
                (Happening::World(endings), _) => world.endings = endings,
                (Happening::Start, _) => {
                    started += 1;
                    world.feed(Event::Start);
                }
                (Happening::Forgive, _) => { world.feed(Event::Forgive); }
                (Happening::Stop, _) => { world.feed(Event::Stop); }
                (Happening::Die(manner), Some(_)) => { world.end_as(manner); }
                (Happening::Pass, Some(_)) => { world.pass(1); }
                (Happening::Fail, Some(_)) => { world.fail(1); }
                (Happening::Beat(question), Some(tree)) => {
                    world.feed(Event::Passed(question, tree));
                }
                (Happening::Miss, Some(_)) => { world.miss(1); }
                (Happening::Forsake, _) => { world.feed(Event::Forsaken); }
                (Happening::Elapse(timer), _) => { world.feed(Event::Elapsed(timer)); }
                (Happening::Stale(generation), _) if alive != Some(Generation(generation)) => {
                    let before = world.life.clone();
                    let of = Generation(generation);
                    world.feed(Event::Outgrown(of));
                    for question in Question::ALL {
                        world.feed(Event::Passed(question, of)).feed(Event::Failed(question, of));
                    }
                    world.feed(Event::Died(of, Manner::Clean)).feed(Event::Ended(of));
                    let ignored = before == world.life;
                    prop_assert!(ignored, "events of another generation are ignored");
                }
                _ => {}
            }
            match policy {
                RestartPolicy::Always => prop_assert_ne!(world.life.state, State::Finished),
                RestartPolicy::OnFailure => {}
                RestartPolicy::Never => prop_assert!(world.spawned <= started),
            }
        }
    }
}
