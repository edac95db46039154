use super::*;
use crate::cli::{look::visible, samples};

fn done(rollout: &Rollout, status: &Status) -> String {
    ended(rollout, Goal::Done, &places(status, &rollout.service), Look::PAGE)
}

#[test]
fn success_names_what_serves_where() {
    let fine = samples::all_fine();
    assert_eq!(
        done(&samples::done_rolling(), &fine),
        "api: rolling update done in 14.2 s, release v2 serves from blue@8000\n"
    );
    let mut swap = samples::done_rolling();
    swap.kind = "swap".into();
    swap.release = None;
    swap.elapsed_s = 0.61;
    assert_eq!(done(&swap, &fine), "api: swap done in 0.6 s, release v2 serves from blue@8000\n");
    let mut restart = samples::done_rolling();
    restart.kind = "restart".into();
    restart.instance = Some("admin@8002".into());
    restart.release = None;
    assert_eq!(done(&restart, &fine), "admin@8002: restart done in 14.2 s\n");
    let nothing = ended(&swap, Goal::Done, &[], Look::PAGE);
    assert_eq!(nothing, "api: swap done in 0.6 s\n");
}

#[test]
fn what_is_held_says_what_to_do() {
    let mut rollout = samples::rolling_under_way();
    rollout.kind = "swap".into();
    rollout.held = Some(crate::api::types::Held {
        instance: "api@8001".into(),
        address: "127.0.0.1:8009".into(),
        until: "2026-03-01T13:00:00Z".into(),
    });
    insta::assert_snapshot!(held(&rollout, Look::PAGE));
}

#[test]
fn two_that_share_the_load_are_both_named() {
    let place =
        |name: &str, release: &str| Place { name: name.into(), release: Some(release.into()) };
    let mut swap = samples::done_rolling();
    swap.release = None;
    let same = [place("blue@8000", "v2"), place("green@8001", "v2")];
    assert!(
        ended(&swap, Goal::Done, &same, Look::PAGE)
            .ends_with("release v2 serves from blue@8000 and green@8001\n")
    );
    let mixed = [place("blue@8000", "v1"), place("green@8001", "v2")];
    assert!(
        ended(&swap, Goal::Done, &mixed, Look::PAGE)
            .ends_with(", blue@8000 and green@8001 serve\n")
    );
}

#[test]
fn what_is_undone_after_a_migration_is_so_in_the_services_alone() {
    let mut deploy = samples::failed_rolling();
    deploy.app = Some("shop".into());
    assert!(done(&deploy, &samples::all_fine()).contains("; everything is as before\n"));
    if let Some(step) = deploy.steps.first_mut() {
        step.name = "migrate".into();
    }
    assert!(done(&deploy, &samples::all_fine()).contains("; the services are as before\n"));
}

#[test]
fn an_undone_rollout_says_why_and_what_next() {
    let rollout = samples::failed_rolling();
    insta::assert_snapshot!(ended(&rollout, Goal::Done, &[], Look::PAGE));
    let coloured = ended(&rollout, Goal::Done, &[], Look::COLOURED);
    insta::assert_snapshot!("coloured", visible(&coloured));
}

#[test]
fn a_long_failure_stays_on_one_screen() {
    let mut rollout = samples::failed_rolling();
    let log = (1..100).map(|n| format!("    line {n}")).collect::<Vec<_>>().join("\n");
    rollout.failure = Some(format!("api@8001 exited with status 3. Its last lines:\n{log}"));
    let text = ended(&rollout, Goal::Done, &[], Look::PAGE);
    assert!(text.lines().count() <= 24, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_line_is_left_out_whole_or_not_at_all() {
    let mut rollout = samples::failed_rolling();
    let log = |n| (1..=n).map(|n| format!("    line {n} {}", "and so on ".repeat(15)));
    rollout.failure = Some(log(9).collect::<Vec<_>>().join("\n"));
    let text = ended(&rollout, Goal::Done, &[], Look::PAGE);
    insta::assert_snapshot!(text);
    // However long, the first and the last are there.
    rollout.failure = Some(["one ", "two ", "three "].map(|word| word.repeat(400)).join("\n"));
    let text = ended(&rollout, Goal::Done, &[], Look::PAGE);
    assert!(text.contains("one one") && text.contains("three three"), "{text}");
    assert!(text.contains("\n  (1 line left out)\n") && !text.contains("two"), "{text}");
}

#[test]
fn stuck_is_told_apart_from_undone() {
    let mut rollout = samples::failed_rolling();
    rollout.state = RolloutState::Stuck;
    rollout.failure = Some("nginx does not answer; its file is put back but not proved.".into());
    insta::assert_snapshot!(ended(&rollout, Goal::Done, &[], Look::PAGE));
    rollout.committed = true;
    let committed = ended(&rollout, Goal::Done, &[], Look::PAGE);
    assert!(committed.starts_with(
        "api: rolling update failed past its point of no return after 12.0 s; it is not undone\n"
    ));
}

#[test]
fn a_cancelled_rollout_is_a_success_of_cancel() {
    let mut rollout = samples::failed_rolling();
    rollout.failure = Some("cancelled by uid 0".into());
    assert_eq!(
        ended(&rollout, Goal::Undone, &[], Look::PAGE),
        "api: rolling update cancelled after 12.0 s; everything is as before\n"
    );
    let late = ended(&samples::done_rolling(), Goal::Undone, &[], Look::PAGE);
    assert!(late.contains("done before it could be cancelled"), "{late}");
}

#[test]
fn whoever_leaves_is_told_how_to_come_back() {
    let mut rollout = samples::rolling_under_way();
    insta::assert_snapshot!(left(&rollout, Parting::Interrupted, Look::PAGE));
    let parting = Parting::TimedOut(Duration::from_secs(30));
    rollout.committed = true;
    insta::assert_snapshot!("timed_out", left(&rollout, parting, Look::PAGE));
}
