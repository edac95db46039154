//! Several services in one rollout: begun, and shown as one.

use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::{Instant, timeout_at};

use super::{Daemon, operations::loss, order, problems, views};
use crate::{
    api::{
        operations::Answer,
        types::{self, RollTogether, RolloutState, TogetherWay, Wait},
    },
    ident::{RolloutId, ServiceName},
    rollout::{
        draft::Request,
        record::{Kind, Rollout},
    },
};

impl Daemon {
    /// Each goes after those that it depends on; what it requires among those may be mended by this.
    pub(super) async fn begin_together(
        &self,
        by: String,
        how: RollTogether,
    ) -> Answer<types::Rollout> {
        let services = how.services.iter().map(String::as_str);
        let asked = self.asked_together(services, how.way, how.force)?;
        let begun = self.engine.begin_together(asked, by.into()).await;
        as_one(&begun.map_err(|e| problems::of_engine(&e))?)
    }

    /// What is asked of each of `services`, in the order in which they go.
    pub(super) fn asked_together<'s>(
        &self,
        services: impl Iterator<Item = &'s str>,
        way: TogetherWay,
        force: bool,
    ) -> Answer<Vec<(ServiceName, Request)>> {
        let named: Result<Vec<ServiceName>, _> = services.map(ServiceName::new).collect();
        let named = named.map_err(|e| problems::bad_request(e.to_string()))?;
        if named.is_empty() {
            return Err(problems::bad_request("`services` names nobody".to_owned()));
        }
        let kind = match way {
            TogetherWay::Rolling => Kind::Rolling,
            TogetherWay::Swap => Kind::Swap,
        };
        let (loss, order) = (loss(force), order::in_order(&named, &self.graph()));
        let mut asked = vec![];
        for service in &order {
            let request = |current| Request { loss, ..Request::of(kind, current) };
            let request = self.prepared_beside(service, request, None, &order)?;
            asked.push((service.clone(), request));
        }
        Ok(asked)
    }

    /// A rollout, with all that was asked for together with it.
    pub(super) async fn shown(&self, id: RolloutId) -> Answer<types::Rollout> {
        let found = self.engine.find(id).await.map_err(|e| problems::of_engine(&e))?;
        let members = self.engine.together(found).await.map_err(|e| problems::of_engine(&e))?;
        as_one(&members)
    }

    /// The last ones, newest first; what was asked for together is one.
    pub(super) async fn history(&self, most: usize) -> Answer<Vec<types::Rollout>> {
        let last = self.engine.last(most).await.map_err(|e| problems::of_engine(&e))?;
        let mut shown: Vec<types::Rollout> = vec![];
        for rollout in last {
            let lead = rollout.convoy.first().map_or(rollout.id, |lead| lead.id).0;
            if shown.iter().any(|shown| shown.id == lead) {
                continue;
            }
            let members = self.engine.together(rollout).await;
            // One that cannot be read was told of when the daemon came up.
            shown.extend(members.ok().and_then(|members| as_one(&members).ok()));
        }
        Ok(shown)
    }

    /// A rollout, once it or one that was asked for together with it has changed, or it has ended.
    pub(super) async fn changed(&self, id: RolloutId, how: &Wait) -> Answer<types::Rollout> {
        let within = Duration::try_from_secs_f64(how.timeout_s.unwrap_or_default());
        let end = Instant::now() + within.unwrap_or_default();
        loop {
            let found = self.engine.find(id).await.map_err(|e| problems::of_engine(&e))?;
            let members = self.engine.together(found).await.map_err(|e| problems::of_engine(&e))?;
            let shown = as_one(&members)?;
            if shown.revision != how.revision || shown.state.ended() {
                return Ok(shown);
            }
            let changes = members.into_iter().filter_map(|seen| {
                let mut watch = self.engine.watch(seen.id)?;
                Some(Box::pin(async move {
                    let news =
                        |now: &Rollout| now.revision != seen.revision || now.outcome().is_some();
                    watch.wait_for(news).await.map(drop)
                }))
            });
            let changes: Vec<_> = changes.collect();
            // Nobody drives them any more; their end and a timeout are told alike.
            if changes.is_empty() || timeout_at(end, select_all(changes)).await.is_err() {
                return self.shown(id).await;
            }
        }
    }
}

/// Rollouts that go one after another, as one.
fn as_one(members: &[Rollout]) -> Answer<types::Rollout> {
    let now = views::now();
    let shown: Vec<types::Rollout> =
        members.iter().map(|member| views::rollout(member, now)).collect();
    let lead = shown.first().cloned();
    let lead = lead.ok_or_else(|| problems::failed("it is a rollout of nobody"))?;
    if shown.len() == 1 {
        return Ok(lead);
    }
    let ends: Option<Vec<i64>> = members.iter().map(|member| member.ended).collect();
    let end = ends.and_then(|ends| ends.into_iter().max()).unwrap_or(now);
    let elapsed_s = members.first().map_or(0.0, |lead| views::seconds_between(lead.begun, end));
    Ok(join(types::Rollout { elapsed_s, ..lead }, shown))
}

fn join(lead: types::Rollout, members: Vec<types::Rollout>) -> types::Rollout {
    let names: Vec<&str> = members.iter().map(|member| member.service.as_str()).collect();
    let of = |state| move |member: &&types::Rollout| member.state == state;
    let ended = members.iter().all(|member| member.state.ended());
    types::Rollout {
        service: names.join(" "),
        release: None,
        state: state(&members),
        steps: members.iter().flat_map(|member| member.steps.clone()).collect(),
        failure: failure(&members),
        requests: None,
        cut: members.iter().map(|member| member.cut).sum(),
        undo: members.iter().find_map(|member| member.undo.clone()),
        committed: if ended {
            members.iter().any(|member| member.committed)
        } else {
            members.iter().filter(of(RolloutState::Waiting)).count() == 0
                && members.iter().filter(of(RolloutState::Running)).all(|member| member.committed)
        },
        revision: members.iter().map(|member| member.revision).sum(),
        members,
        ..lead
    }
}

/// Done is done of all. Where one of several is done and another is not, not everything is undone.
fn state(members: &[types::Rollout]) -> RolloutState {
    let any = |state| members.iter().any(|member| member.state == state);
    let all_ended = members.iter().all(|member| member.state.ended());
    match () {
        () if any(RolloutState::Undoing) => RolloutState::Undoing,
        () if !all_ended => RolloutState::Running,
        () if members.iter().all(|member| member.state == RolloutState::Done) => RolloutState::Done,
        () if any(RolloutState::Done) || any(RolloutState::Stuck) => RolloutState::Stuck,
        () => RolloutState::Undone,
    }
}

/// What is done and what is not, a line each.
fn failure(members: &[types::Rollout]) -> Option<String> {
    members.iter().find(|member| member.failure.is_some())?;
    let line = |member: &types::Rollout| {
        let (service, why) = (&member.service, member.failure.as_deref().unwrap_or_default());
        match member.state {
            RolloutState::Done => format!("{service} is done"),
            RolloutState::Skipped => format!("{service} was not begun: {why}"),
            RolloutState::Undone => format!("{service} failed and was undone: {why}"),
            RolloutState::Stuck => format!("{service} failed and is stuck: {why}"),
            RolloutState::Undoing => format!("{service} failed and is being undone: {why}"),
            RolloutState::Waiting => format!("{service} waits"),
            RolloutState::Running => format!("{service} goes on"),
        }
    };
    Some(members.iter().map(line).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use RolloutState::{Done, Running, Skipped, Stuck, Undoing, Undone, Waiting};

    fn member(service: &str, state: RolloutState) -> types::Rollout {
        let failure = matches!(state, Undone | Skipped | Stuck | Undoing).then(|| "why".to_owned());
        types::Rollout {
            id: 7,
            kind: "rolling".into(),
            service: service.into(),
            app: None,
            instance: None,
            release: Some("v2".into()),
            code: None,
            by: "uid 0".into(),
            deploy: None,
            state,
            begun: String::new(),
            elapsed_s: 1.0,
            steps: vec![],
            failure,
            requests: None,
            undo: None,
            report: vec![],
            members: vec![],
            cut: 0,
            held: None,
            committed: state == Done,
            revision: 3,
        }
    }

    fn joined(states: [RolloutState; 3]) -> types::Rollout {
        let names = ["api", "admin", "worker"];
        let all: Vec<_> =
            names.iter().zip(states).map(|(name, state)| member(name, state)).collect();
        join(all[0].clone(), all)
    }

    #[test]
    fn several_are_done_when_all_are_and_undone_when_nothing_of_any_is_left() {
        for (states, one) in [
            ([Done, Done, Done], Done),
            ([Done, Running, Waiting], Running),
            ([Done, Waiting, Waiting], Running),
            ([Undoing, Waiting, Waiting], Undoing),
            ([Undone, Skipped, Skipped], Undone),
            ([Undone, Waiting, Waiting], Running),
            ([Skipped, Skipped, Skipped], Undone),
            ([Done, Undone, Skipped], Stuck),
            ([Done, Skipped, Skipped], Stuck),
            ([Stuck, Skipped, Skipped], Stuck),
        ] {
            assert_eq!(joined(states).state, one, "{states:?}");
        }
        let failed = joined([Done, Undone, Skipped]);
        assert_eq!((failed.service.as_str(), failed.revision), ("api admin worker", 9));
        let told = "api is done\nadmin failed and was undone: why\nworker was not begun: why";
        assert_eq!(failed.failure.as_deref(), Some(told));
        assert!(!joined([Done, Running, Waiting]).committed, "a cancel still stops the last one");
    }
}
