//! Instances that are not well: traffic leaves them, and comes back.

use super::*;

/// The same world in which one instance is not well.
fn sick(mut world: World, port: u16, phase: Phase) -> World {
    world.slots.get_mut(&slot(port)).unwrap().phase = phase;
    world
}

#[test]
fn the_only_one_that_is_well_is_not_retired() {
    let service = service("[8000, 8001]", "stopped");
    for phase in [Phase::Unready, Phase::Backoff, Phase::Failed] {
        let world = sick(both(Role::Backup), BLUE, phase);
        for kind in [Kind::Retire, Kind::Stop] {
            let refused = draft(&request(kind, Some(GREEN), Loss::Never), &service, &world);
            assert!(matches!(refused, Err(Refusal::LastMember(..))), "{kind:?} {phase:?}");
        }
    }
}

#[test]
fn the_last_well_member_stays_when_the_other_one_falls_ill_meanwhile() {
    let service = service("[8000, 8001]", "stopped");
    let asked = request(Kind::Retire, Some(GREEN), Loss::Never);
    let rollout =
        begin(Kind::Retire, Some(GREEN), draft(&asked, &service, &both(Role::Backup)).unwrap());
    let world = sick(both(Role::Backup), BLUE, Phase::Unready);
    let blue = Step::AwaitReady { slot: slot(BLUE) };
    assert_eq!(next_step(&rollout, &world), Next::Do(blue));
}

#[test]
fn a_swap_leads_away_from_a_sick_colour_at_once() {
    let service = service("[8000, 8001]", "stopped");
    for (phase, serving) in [
        (Phase::Unready, "publish 8001"),
        (Phase::Backoff, "publish 8001"),
        (Phase::Failed, "publish 8001"),
    ] {
        let mut world = sick(both(Role::Backup), BLUE, phase);
        let asked = request(Kind::Swap, None, Loss::Never);
        let mut rollout = begin(Kind::Swap, None, draft(&asked, &service, &world).unwrap());
        let steps = play(&mut rollout, &mut world, |_| Fate::Works);
        assert_eq!(words(&steps)[0], serving, "{phase:?}");
        assert_eq!(rollout.outcome(), Some(Outcome::Done));
    }
}

#[test]
fn a_rolling_update_begins_where_nobody_is_well() {
    for role in [Role::Serving, Role::Backup] {
        let mut world = sick(both(role), BLUE, Phase::Failed);
        let asked = request(Kind::Rolling, None, Loss::Never);
        let drafted = draft(&asked, &service("[8000, 8001]", "shared"), &world).unwrap();
        let mut rollout = begin(Kind::Rolling, None, drafted);
        let steps = words(&play(&mut rollout, &mut world, |_| Fate::Works));
        let first = steps.iter().find(|step| step.starts_with("start")).map(String::as_str);
        assert_eq!(first, Some("start api@8000"), "{steps:?}");
        assert_eq!(rollout.outcome(), Some(Outcome::Done));
    }
}

#[test]
fn a_sick_instance_may_be_restarted_and_is_not_waited_for() {
    let one = service("[8000]", "stopped");
    let hung = World {
        slots: [(slot(BLUE), seen(Phase::Unready, Some("v1")))].into(),
        members: Some(members(&[(BLUE, Role::Serving)])),
        proof: Proof::Agreed,
    };
    let two = service("[8000, 8001]", "stopped");
    for (service, mut world) in [(one, hung), (two, sick(at_rest(), BLUE, Phase::Unready))] {
        let asked = request(Kind::Restart, Some(BLUE), Loss::Never);
        let mut rollout =
            begin(Kind::Restart, Some(BLUE), draft(&asked, &service, &world).unwrap());
        let steps = words(&play(&mut rollout, &mut world, |_| Fate::Works));
        assert_eq!(steps, ["stop api@8000", "start api@8000", "await-ready api@8000"]);
    }
}

#[test]
fn what_nginx_serves_is_proved_before_anything_relies_on_it() {
    let (mut world, service) = (at_rest(), service("[8000, 8001]", "stopped"));
    let asked = request(Kind::Rolling, None, Loss::Never);
    let mut rollout = begin(Kind::Rolling, None, draft(&asked, &service, &world).unwrap());
    // The daemon died between the rename and the reload, and somebody cancels.
    rollout.fail("cancelled by uid 0");
    world.proof = Proof::Open;
    let steps = words(&play(&mut rollout, &mut world, |_| Fate::Works));
    assert_eq!(steps, ["publish 8000"], "the file says again what nginx serves");
}

#[test]
fn an_upstream_that_somebody_emptied_is_filled_before_anything_stops() {
    let service = service("[8000, 8001]", "stopped");
    let asked = request(Kind::Rolling, None, Loss::Never);
    let mut rollout = begin(Kind::Rolling, None, draft(&asked, &service, &at_rest()).unwrap());
    let mut world = both(Role::Serving);
    world.slots.get_mut(&slot(GREEN)).unwrap().release = Some(release("v2"));
    world.slots.get_mut(&slot(GREEN)).unwrap().rollout = Some(rollout.id);
    world.members = Some(Members::new());
    rollout.at = 1;
    let green = Step::Publish { members: members(&[(GREEN, Role::Serving)]) };
    assert_eq!(next_step(&rollout, &world), Next::Do(green));
}

fn upkept(kind: Kind, standby: &str, mut world: World) -> (Vec<String>, World) {
    let service = service("[8000, 8001]", standby);
    let drafted = draft(&request(kind, Some(BLUE), Loss::Never), &service, &world).unwrap();
    let mut rollout = begin(kind, Some(BLUE), drafted);
    let steps = play(&mut rollout, &mut world, |_| Fate::Works);
    assert_eq!(rollout.outcome(), Some(Outcome::Done));
    (words(&steps), world)
}

#[test]
fn a_member_that_is_not_ready_leaves_and_comes_back_and_nothing_is_restarted() {
    for phase in [Phase::Unready, Phase::Failed] {
        for (standby, role, back) in [
            ("shared", Role::Serving, "publish 8000 8001"),
            ("hot", Role::Backup, "publish 8000 8001 (backup)"),
        ] {
            let (steps, world) = upkept(Kind::Relieve, standby, sick(both(role), BLUE, phase));
            assert_eq!(steps, ["publish 8001"], "{standby}");
            let well = sick(world, BLUE, Phase::Ready);
            assert_eq!(upkept(Kind::Restore, standby, well).0, [back], "{standby}");
        }
    }
    let ill = sick(sick(both(Role::Serving), BLUE, Phase::Unready), GREEN, Phase::Unready);
    let asked = request(Kind::Relieve, Some(BLUE), Loss::Never);
    let refused = draft(&asked, &service("[8000, 8001]", "shared"), &ill);
    assert!(matches!(refused, Err(Refusal::LastMember(..))), "T1");
}

#[test]
fn what_hangs_is_ended_once_another_one_serves() {
    let (steps, world) = upkept(Kind::Replace, "stopped", sick(at_rest(), BLUE, Phase::Hung));
    let start = ["start api@8001", "await-ready api@8001", "publish 8001", "stop api@8000"];
    assert_eq!(steps, start, "nothing is drained: it answers nobody any more");
    assert_eq!(world.slots[&slot(GREEN)].release, Some(release("v1")), "the same release");
    for (standby, role, last) in [
        ("shared", Role::Serving, "publish 8000 8001"),
        ("hot", Role::Backup, "publish 8000 (backup) 8001"),
    ] {
        let (steps, _) = upkept(Kind::Replace, standby, sick(both(role), BLUE, Phase::Hung));
        let renewed = ["publish 8001", "stop api@8000", "start api@8000", "await-ready api@8000"];
        assert_eq!((&steps[..4], &*steps[4]), (&renewed.map(str::to_owned)[..], last), "{standby}");
    }
}

#[test]
fn a_warm_old_colour_stands_in_for_a_new_one_that_hangs() {
    let mut world = sick(both(Role::Backup), BLUE, Phase::Hung);
    world.slots.get_mut(&slot(GREEN)).unwrap().release = Some(release("v0"));
    let (steps, world) = upkept(Kind::Replace, "stopped", world);
    let there = ["publish 8001", "stop api@8000", "start api@8000", "await-ready api@8000"];
    assert_eq!(steps[..4], there);
    assert_eq!(
        steps[4..],
        ["publish 8000 8001", "publish 8000", "drain api@8001", "stop api@8001"]
    );
    assert_eq!(world.slots[&slot(BLUE)].release, Some(release("v1")));
}

#[test]
fn a_replacement_that_does_not_come_up_leaves_everything_as_it_was() {
    let before = sick(at_rest(), BLUE, Phase::Hung);
    let service = service("[8000, 8001]", "stopped");
    let asked = request(Kind::Replace, Some(BLUE), Loss::Never);
    let drafted = draft(&asked, &service, &before).unwrap();
    for fate in [Fate::Fails, Fate::Forgotten, Fate::Unbegun] {
        for nth in 0..6 {
            let mut world = before.clone();
            let mut rollout = begin(Kind::Replace, Some(BLUE), drafted.clone());
            play(&mut rollout, &mut world, |n| if n == nth { fate } else { Fate::Works });
            let served = world.members.iter().flatten().any(|(_, role)| *role == Role::Serving);
            assert!(served, "{fate:?} at {nth}");
            if rollout.outcome() == Some(Outcome::Undone) {
                assert_same_service(&before, &world, Kind::Replace, nth);
            }
        }
    }
}

#[test]
fn who_is_ready_gets_the_requests_of_one_that_died_before_that_starts_again() {
    let service = service("[8000, 8001]", "stopped, watch: 0s");
    let asked = request(Kind::Rolling, None, Loss::Never);
    let mut rollout = begin(Kind::Rolling, None, draft(&asked, &service, &at_rest()).unwrap());
    rollout.advance();
    let green = Seen { rollout: Some(rollout.id), ..seen(Phase::Ready, Some("v2")) };
    for phase in [Phase::Backoff, Phase::Failed] {
        let mut world = sick(at_rest(), BLUE, phase);
        world.slots.insert(slot(GREEN), green.clone());
        let to_green = Step::Publish { members: members(&[(GREEN, Role::Serving)]) };
        assert_eq!(next_step(&rollout, &world), Next::Do(to_green), "{phase:?}");
    }
}
