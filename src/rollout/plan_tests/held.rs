//! A slot whose socket the daemon holds is renewed in place.

use super::*;

/// One slot, whose socket the daemon holds.
fn held(phase: Phase, behind_nginx: bool) -> World {
    World {
        slots: [(slot(BLUE), Seen { room: Room::Free, ..seen(phase, Some("v1")) })].into(),
        members: behind_nginx.then(|| members(&[(BLUE, Role::Serving)])),
        proof: Proof::Agreed,
    }
}

#[test]
fn one_held_slot_is_renewed_in_place() {
    let service = service("[8000]", "stopped");
    for (kind, at, then) in
        [(Kind::Rolling, None, vec!["watch api@8000"]), (Kind::Restart, Some(BLUE), vec![])]
    {
        for phase in [Phase::Ready, Phase::Unready, Phase::Backoff, Phase::Starting] {
            for behind_nginx in [true, false] {
                let mut world = held(phase, behind_nginx);
                let asked = request(kind, at, Loss::Never);
                let mut rollout = begin(kind, at, draft(&asked, &service, &world).unwrap());
                let steps = words(&play(&mut rollout, &mut world, |_| Fate::Works));
                assert_eq!(steps, [vec!["replace api@8000"], then.clone()].concat());
                assert_eq!(rollout.outcome(), Some(Outcome::Done));
            }
        }
    }
    let stop =
        draft(&request(Kind::Stop, Some(BLUE), Loss::Never), &service, &held(Phase::Ready, true));
    assert!(matches!(stop, Err(Refusal::LastMember(..))));
}

#[test]
fn a_held_slot_whose_renewal_fails_is_as_it_was() {
    let service = service("[8000]", "stopped");
    let asked = request(Kind::Rolling, None, Loss::Never);
    let before = held(Phase::Ready, true);
    let drafted = draft(&asked, &service, &before).unwrap();
    for fate in [Fate::Fails, Fate::Forgotten, Fate::Unbegun] {
        for nth in 0..4 {
            for cut_short in [Room::Free, Room::Taken] {
                let mut world = before.clone();
                let mut rollout = begin(Kind::Rolling, None, drafted.clone());
                world.slots.get_mut(&slot(BLUE)).unwrap().room = cut_short;
                play(&mut rollout, &mut world, |n| if n == nth { fate } else { Fate::Works });
                let there = &world.slots[&slot(BLUE)];
                assert_eq!((there.phase, there.room), (Phase::Ready, Room::Free));
                match rollout.outcome().unwrap() {
                    Outcome::Done => assert_eq!(there.release, Some(release("v2"))),
                    Outcome::Undone => assert_eq!(there.release, Some(release("v1"))),
                    Outcome::Stuck => panic!("{fate:?} at {nth}"),
                }
            }
        }
    }
}

#[test]
fn a_held_slot_leaves_its_requests_to_the_other_one_where_that_is_ready() {
    let service = service("[8000, 8001]", "hot");
    let mut world = both(Role::Backup);
    for seen in world.slots.values_mut() {
        seen.room = Room::Free;
    }
    let asked = request(Kind::Restart, Some(BLUE), Loss::Never);
    let mut rollout = begin(Kind::Restart, Some(BLUE), draft(&asked, &service, &world).unwrap());
    let steps = words(&play(&mut rollout, &mut world, |_| Fate::Works));
    assert_eq!(steps[..3], ["publish 8001", "drain api@8000", "stop api@8000"]);
    assert_eq!(rollout.outcome(), Some(Outcome::Done));
}
