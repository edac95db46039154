//! A new release comes in by shares of the requests.

use super::*;
use crate::config::Share;

fn part(percent: u8) -> Role {
    Role::Canary(Share::new(percent).unwrap())
}

fn by_shares(shares: &str) -> Service {
    service("[8000, 8001]", &format!("stopped, canary: {shares}"))
}

fn of(kind: Kind, shares: &str, world: &World) -> Rollout {
    let asked = request(kind, None, Loss::Never);
    begin(kind, None, draft(&asked, &by_shares(shares), world).unwrap())
}

const UP_TO_A_QUARTER: [&str; 6] = [
    "start api@8001",
    "await-ready api@8001",
    "publish 8000 8001 (5%)",
    "watch api@8000 api@8001",
    "publish 8000 8001 (25%)",
    "watch api@8000 api@8001",
];

#[test]
fn a_swap_gets_its_requests_by_shares() {
    let mut world = at_rest();
    let mut rollout = of(Kind::Swap, "[5%, 25%]", &world);
    let steps = words(&play(&mut rollout, &mut world, |_| Fate::Works));
    assert_eq!(steps[..6], UP_TO_A_QUARTER);
    assert_eq!(steps[6..], ["publish 8000 (backup) 8001", "watch api@8001"]);
    assert_eq!(rollout.outcome(), Some(Outcome::Done));
}

/// As many as the other one has when both serve.
#[test]
fn a_rolling_update_goes_on_by_shares_to_half() {
    for (shares, half) in
        [("[5%, 25%]", &["publish 8000 8001", "watch api@8001"][..]), ("[50%]", &[])]
    {
        let mut world = at_rest();
        let mut rollout = of(Kind::Rolling, shares, &world);
        let steps = words(&play(&mut rollout, &mut world, |_| Fate::Works));
        let before = if half.is_empty() { 4 } else { 6 };
        let rest = [half, &["publish 8001", "drain api@8000", "stop api@8000"]].concat();
        assert_eq!(steps[before..before + rest.len()], rest);
        assert_eq!(rollout.outcome(), Some(Outcome::Done));
        assert_eq!(world.members, at_rest().members);
    }
}

#[test]
fn what_fails_at_any_share_goes_back_to_none() {
    let back = ["publish 8000", "drain api@8001", "stop api@8001"];
    for nth in 2..6 {
        for fate in [Fate::Fails, Fate::Forgotten, Fate::Unbegun] {
            let mut world = at_rest();
            let mut rollout = of(Kind::Swap, "[5%, 25%]", &world);
            let steps =
                play(&mut rollout, &mut world, |n| if n == nth { fate } else { Fate::Works });
            let steps = words(&steps);
            assert_eq!(steps[..=nth], UP_TO_A_QUARTER[..=nth]);
            match fate {
                // It was put back by itself, where nothing was published before.
                Fate::Fails if nth == 2 => {
                    assert_eq!(steps[3..], ["drain api@8001", "stop api@8001"]);
                }
                Fate::Fails => assert_eq!(steps[nth + 1..], back),
                _ => assert_eq!(rollout.outcome(), Some(Outcome::Done), "{fate:?} at {nth}"),
            }
            if fate == Fate::Fails {
                assert_eq!(world.members, at_rest().members);
                assert_eq!(rollout.outcome(), Some(Outcome::Undone));
            }
        }
    }
}

/// Where the old one is ill there is nothing to compare with, and what is known is not tried again.
#[test]
fn shares_are_for_what_is_new_beside_what_is_well() {
    let mut ill = at_rest();
    ill.slots.get_mut(&slot(BLUE)).unwrap().phase = Phase::Unready;
    let swap = of(Kind::Swap, "[5%]", &ill);
    assert_eq!(swap.stages.len(), 1);
    let rollback = of(Kind::Rollback, "[5%]", &both(Role::Backup));
    assert_eq!(rollback.stages.len(), 1);
}

/// Whoever dies while both are watched leaves the upstream at once, and the other one gets all.
#[test]
fn a_death_at_a_share_leaves_all_to_the_other_one() {
    let back = ["publish 8000", "drain api@8001", "stop api@8001"];
    let to_the_new = ["publish 8001", "await-ready api@8000"];
    for (port, then) in [(GREEN, back.to_vec()), (BLUE, [&to_the_new[..], &back[..]].concat())] {
        let mut world = at_rest();
        let mut rollout = of(Kind::Swap, "[5%]", &world);
        for _ in 0..4 {
            let Next::Do(step) = next_step(&rollout, &world) else { panic!("it goes on") };
            rollout.begin(&step, &world, 0);
            let watched = matches!(step, Step::Watch { .. });
            if watched {
                world.slots.get_mut(&slot(port)).unwrap().phase = Phase::Backoff;
            } else {
                act(&mut world, &step, &rollout);
            }
            rollout.finish(if watched { Err("it died".to_owned()) } else { Ok(None) }, 1);
        }
        assert_eq!(world.members, Some(members(&[(BLUE, Role::Serving), (GREEN, part(5))])));
        let steps = words(&play(&mut rollout, &mut world, |_| Fate::Works));
        assert_eq!(steps, then, "{port}");
        assert_eq!(world.members, at_rest().members);
        assert_eq!(rollout.outcome(), Some(Outcome::Undone));
    }
}
