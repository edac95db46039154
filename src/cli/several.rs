//! A rollout of several services on one screen; one of a single service is its own only member.

use std::{fmt::Write as _, slice};

use super::{
    clients,
    follow::Goal,
    layout::hanging,
    look::{self, Look},
    time, verdict,
};
use crate::api::types::{Rollout, RolloutState, Status};

/// Those that it consists of, in order. A deploy is one, with the steps of its members among its own.
pub(super) fn members(rollout: &Rollout) -> &[Rollout] {
    if is_one(rollout) { slice::from_ref(rollout) } else { &rollout.members }
}

fn is_one(rollout: &Rollout) -> bool {
    rollout.members.is_empty() || rollout.app.is_some()
}

/// The member whose turn it is, else the last one, and its place.
pub(super) fn present(rollout: &Rollout) -> (usize, &Rollout) {
    let all = || members(rollout).iter().enumerate();
    all()
        .find(|(_, member)| !member.state.ended())
        .or_else(|| all().next_back())
        .unwrap_or((0, rollout))
}

/// How it ended, each member with its own verdict, and with what its clients saw. `status` says who
/// serves now, where that is to be told.
pub(super) fn ended(rollout: &Rollout, goal: Goal, status: Option<&Status>, look: Look) -> String {
    let places = |member: &Rollout| match (status, member.state) {
        (Some(status), RolloutState::Done) => verdict::places(status, &member.service),
        _ => Vec::new(),
    };
    let one = |member: &Rollout| {
        verdict::ended(member, goal, &places(member), look)
            + &verdict::cut(member, look)
            + &clients::told(member, look)
    };
    if is_one(rollout) {
        let clients = rollout.members.iter().map(|member| clients::told(member, look));
        return one(rollout) + &clients.collect::<String>() + &verdict::report(rollout, look);
    }
    let mut text = head(rollout, goal, look);
    for member in &rollout.members {
        match (member.state, member.failure.as_deref()) {
            (RolloutState::Skipped, why) => {
                let why = why.unwrap_or("its turn did not come");
                let line = format!("{}: not begun: {why}", member.service);
                text.push_str(&hanging("", &line, look.width));
            }
            _ => text.push_str(&one(member)),
        }
    }
    text
}

/// `api admin: rolling update stopped after 12.0 s: 1 of 2 done`.
fn head(rollout: &Rollout, goal: Goal, look: Look) -> String {
    let of = rollout.members.len();
    let done = rollout.members.iter().filter(|member| member.state == RolloutState::Done).count();
    let (style, how) = match (rollout.state, goal) {
        (RolloutState::Done, _) => (look::GOOD, "done"),
        (_, Goal::Undone) => (look::PENDING, "cancelled"),
        (_, Goal::Done | Goal::Held) => (look::BAD, "stopped"),
    };
    let mut text = format!(
        "{}: {} {} after {}",
        rollout.service,
        verdict::kind(&rollout.kind),
        look.paint(style, how),
        time::took(rollout.elapsed_s)
    );
    if rollout.state != RolloutState::Done {
        let _ = write!(text, ": {done} of {of} done");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    fn of(service: &str, sample: Rollout, state: RolloutState) -> Rollout {
        Rollout { service: service.into(), state, ..sample }
    }

    fn two(first: Rollout, second: Rollout) -> Rollout {
        let done = second.state == RolloutState::Done;
        Rollout {
            service: format!("{} {}", first.service, second.service),
            release: None,
            state: if done { RolloutState::Done } else { RolloutState::Stuck },
            members: vec![first.clone(), second],
            ..first
        }
    }

    #[test]
    fn what_is_done_and_what_is_not_is_said_of_each() {
        let api = || of("api", samples::done_rolling(), RolloutState::Done);
        let undone = of("admin", samples::failed_rolling(), RolloutState::Undone);
        let failed = two(api(), undone);
        insta::assert_snapshot!(ended(&failed, Goal::Done, None, Look::PAGE));
        let done = two(api(), of("admin", samples::done_rolling(), RolloutState::Done));
        insta::assert_snapshot!("done", ended(&done, Goal::Done, None, Look::PAGE));
        let mut skipped = of("admin", samples::rolling_under_way(), RolloutState::Skipped);
        skipped.failure = Some("api comes before it, and failed".into());
        let stuck = of("api", samples::failed_rolling(), RolloutState::Stuck);
        let text = ended(&two(stuck, skipped), Goal::Done, None, Look::PAGE);
        assert!(text.ends_with("admin: not begun: api comes before it, and failed\n"), "{text}");
    }
}
