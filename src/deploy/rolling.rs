//! Bringing a release into the services of an application: one rollout of each, one after another.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{
    hands::{Hands, Tell},
    record::{Deploy, Learnt, Off, Order, Setback, Told},
    words,
};
use crate::{
    config::{RollOut, Slots},
    ident::{RolloutId, ServiceName},
    release::Release,
    rollout::{
        EngineError,
        draft::Request,
        part::{Asker, Direction, PartOf},
        record::{Kind, Outcome, Rollout},
    },
};

/// How long another rollout may hold a service before a deploy gives up.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Between two looks at who holds a service.
const PACE: Duration = Duration::from_secs(1);

impl Hands {
    /// Brings each service to its release; those that have it stay as they are.
    pub(super) async fn bring(
        &self,
        deploy: &Deploy,
        direction: Direction,
        targets: Vec<(ServiceName, Release)>,
        tell: Tell<'_>,
    ) -> Result<Off, Setback> {
        let part = PartOf { deploy: deploy.id, direction };
        // An earlier daemon may have begun them.
        let mine = self.rollouts.parts(part).await.map_err(|e| e.to_string())?;
        let mine: Vec<RolloutId> = mine.iter().map(|rollout| rollout.id).collect();
        self.follow(&mine, tell).await?;
        let mut asked = vec![];
        for (service, release) in targets {
            let presence = self.rollouts.presence(&service).await.map_err(|e| e.to_string())?;
            // Where the schema follows, nothing else stays beside it, however warm.
            let alone = direction == Direction::Out && deploy.order() == Order::CodeFirst;
            let is_there = presence.serving == [release.clone()]
                && !(alone && presence.all().any(|other| *other != release));
            if is_there {
                continue;
            }
            let request = if alone {
                named(Kind::Rolling, release)
            } else if presence.warm.contains(&release) {
                // It takes over at once.
                Request::of(Kind::Rollback, release)
            } else {
                self.request_for(&service, release)
            };
            asked.push((service, request));
        }
        if asked.is_empty() {
            let note = mine.is_empty().then(|| "every service has it already".to_owned());
            return Ok(Off { note, learnt: Learnt::Nothing });
        }
        let begun = self.begin_when_free(asked, words::asker(part), tell).await?;
        self.follow(&begun.iter().map(|rollout| rollout.id).collect::<Vec<_>>(), tell).await?;
        Ok(Off::QUIET)
    }

    /// What is asked of `service`, to bring `release` into it.
    pub(super) fn request_for(&self, service: &ServiceName, release: Release) -> Request {
        let crew = self.rollouts.crew(service).ok();
        let is_double = crew.is_some_and(|crew| matches!(crew.service.slots, Slots::Two { .. }));
        let kind = match self.app.roll_out {
            RollOut::Swap if is_double => Kind::Swap,
            RollOut::Swap | RollOut::Rolling => Kind::Rolling,
        };
        named(kind, release)
    }

    async fn begin_when_free(
        &self,
        asked: Vec<(ServiceName, Request)>,
        who: Asker,
        tell: Tell<'_>,
    ) -> Result<Vec<Rollout>, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.rollouts.begin_together(asked.clone(), who.clone()).await {
                Ok(begun) => return Ok(begun),
                Err(EngineError::Busy(holder)) if Instant::now() < deadline => {
                    tell(Told::Line(format!("waits: {holder}")));
                    tokio::time::sleep(PACE).await;
                }
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// Waits until all of them have ended, and are done.
    async fn follow(&self, ids: &[RolloutId], tell: Tell<'_>) -> Result<(), String> {
        tell(Told::Rollouts(ids.to_vec()));
        for id in ids {
            let rollout = self.end_of(*id).await?;
            if rollout.outcome() != Some(Outcome::Done) {
                let why = rollout.failure.unwrap_or_else(|| "it did not end".to_owned());
                return Err(format!("{}: {why}", rollout.service));
            }
        }
        Ok(())
    }

    /// The rollout has deadlines of its own; a change is looked for now and then where nobody drives it.
    async fn end_of(&self, id: RolloutId) -> Result<Rollout, String> {
        loop {
            if let Some(mut watch) = self.rollouts.watch(id) {
                let ended = watch.wait_for(|rollout| rollout.outcome().is_some());
                let _ = timeout_at(Instant::now() + PATIENCE, ended).await;
            }
            let rollout = self.rollouts.find(id).await.map_err(|e| e.to_string())?;
            if rollout.outcome().is_some() || self.rollouts.watch(id).is_none() {
                return Ok(rollout);
            }
        }
    }
}

fn named(kind: Kind, release: Release) -> Request {
    Request { named: Some(release.clone()), ..Request::of(kind, release) }
}
