//! What is foreseen is what the engine does, and what it says would be undone is what it undoes.

use super::{
    draft::draft,
    forecast::{Failure, Foreseen, forecast, outlook},
    plan_tests::{
        BLUE, Fate, GREEN, at_rest, begin, both, members, play, request, service, slot, words,
    },
    record::{Kind, Loss, Outcome, Rollout, Step},
    world::{Proof, World},
};
use crate::nginx::Role;

fn begun(kind: Kind, at: Option<u16>, standby: &str, world: &World) -> Rollout {
    let asked = request(kind, at, Loss::Never);
    begin(kind, at, draft(&asked, &service("[8000, 8001]", standby), world).unwrap())
}

fn undone(failure: &Failure) -> Option<Vec<String>> {
    match failure {
        Failure::Undone(steps) => Some(words(steps)),
        Failure::Stays => None,
    }
}

#[test]
fn a_rolling_update_is_foreseen_with_its_way_back_and_where_that_ends() {
    let world = at_rest();
    let rollout = begun(Kind::Rolling, None, "stopped", &world);
    let foreseen = forecast(&rollout, &world);
    let steps: Vec<Step> = foreseen.iter().map(|foreseen| foreseen.step.clone()).collect();
    assert_eq!(words(&steps)[..3], ["start api@8001", "await-ready api@8001", "publish 8000 8001"]);
    assert_eq!((steps.len(), words(&steps)[13].as_str()), (14, "stop api@8001"));
    let back = |at: usize| undone(&foreseen[at].failure);
    let of = |steps: &[&str]| Some(steps.iter().map(|&step| step.to_owned()).collect::<Vec<_>>());
    assert_eq!(back(0), of(&["stop api@8001"]), "a start may leave something");
    assert_eq!(back(1), of(&["stop api@8001"]), "nginx has not seen it");
    assert_eq!(back(2), of(&["drain api@8001", "stop api@8001"]), "a publish puts back itself");
    assert_eq!(back(3), of(&["publish 8000", "drain api@8001", "stop api@8001"]));
    assert_eq!(back(5), back(3), "blue is drained, and comes back");
    let no_return = foreseen.iter().position(|foreseen| foreseen.failure == Failure::Stays);
    assert_eq!(no_return, Some(6), "the stop of the last one that served");
    assert!(foreseen[6..].iter().all(|foreseen| foreseen.failure == Failure::Stays));
    let after = outlook(&rollout, &world);
    assert_eq!(after.members, Some(members(&[(BLUE, Role::Serving)])));
    assert!(forecast(&Rollout { at: 3, ..rollout }, &after).is_empty(), "nothing is left to do");
}

/// What boots gives its place to the next one then, however long it takes to be ready.
#[test]
fn it_is_starting_until_its_first_start_is_behind_it() {
    let world = at_rest();
    let mut rollout = begun(Kind::Rolling, None, "stopped", &world);
    assert!(rollout.is_starting(), "it has not begun");
    let steps: Vec<Step> =
        forecast(&rollout, &world).into_iter().map(|foreseen| foreseen.step).collect();
    rollout.begin(&steps[0], &world, 1);
    assert!(rollout.is_starting());
    rollout.finish(Ok(None), 1);
    assert!(!rollout.is_starting());
    rollout.begin(&steps[1], &world, 2);
    assert!(!rollout.is_starting(), "it waits until that is ready");
    let ended = Rollout { ended: Some(3), steps: vec![], ..rollout };
    assert!(!ended.is_starting());
}

/// Another rollout is under way: what comes then begins where that one ends.
#[test]
fn what_comes_after_a_swap_is_foreseen_upon_its_outlook() {
    let world = at_rest();
    let after = outlook(&begun(Kind::Swap, None, "stopped", &world), &world);
    assert_eq!((after.proof, after.role(slot(GREEN))), (Proof::Agreed, Some(Role::Serving)));
    let back = forecast(&begun(Kind::Swap, None, "stopped", &after), &after);
    let steps: Vec<Step> = back.iter().map(|foreseen| foreseen.step.clone()).collect();
    assert_eq!(words(&steps), ["publish 8000 8001 (backup)", "watch api@8000"]);
    assert_eq!(undone(&back[0].failure), Some(vec![]), "nothing was done yet");
    assert_eq!(undone(&back[1].failure), Some(vec!["publish 8000 (backup) 8001".to_owned()]));
}

/// At each step of each kind: what was said would be undone there is what the plan does when it fails.
#[test]
fn what_is_said_to_be_undone_is_what_is_undone() {
    let scenes = [
        (Kind::Rolling, None, at_rest(), "stopped"),
        (Kind::Rolling, None, both(Role::Backup), "hot"),
        (Kind::Rolling, None, both(Role::Serving), "shared"),
        (Kind::Swap, None, at_rest(), "stopped"),
        (Kind::Restart, Some(GREEN), both(Role::Serving), "shared"),
        (Kind::Stop, Some(BLUE), both(Role::Backup), "hot"),
        (Kind::Start, Some(GREEN), at_rest(), "hot"),
    ];
    for (kind, at, before, standby) in scenes {
        let rollout = begun(kind, at, standby, &before);
        for (nth, Foreseen { step, failure }) in forecast(&rollout, &before).iter().enumerate() {
            let (mut played, mut world) = (rollout.clone(), before.clone());
            let fate = |n| if n == nth { Fate::Fails } else { Fate::Works };
            let taken = play(&mut played, &mut world, fate);
            assert_eq!(taken[nth], *step, "{kind:?}: it does what was foreseen");
            let told = format!("{kind:?}, {step:?}");
            match failure {
                Failure::Stays => assert_eq!(played.outcome(), Some(Outcome::Stuck), "{told}"),
                // There it is the worst that is foreseen, and here nothing was begun.
                Failure::Undone(_) if matches!(step, Step::Start { .. } | Step::Stop { .. }) => {
                    assert_eq!(played.outcome(), Some(Outcome::Undone), "{told}");
                }
                Failure::Undone(back) => assert_eq!(taken[nth + 1..], back[..], "{told}"),
            }
        }
    }
}
