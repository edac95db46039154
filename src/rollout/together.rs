//! Several services in one rollout: all of them held from the beginning, one after another.

use std::collections::BTreeMap;

use super::{
    EngineError,
    begin::blank,
    convoy::{Member, Waits},
    draft::{Draft, Request},
    engine::Engine,
    part::Asker,
    record::{Loss, Rollout, Stage, now},
    words,
};
use crate::{
    ident::{RolloutId, ServiceName},
    store::StoreError,
};

impl Engine {
    /// Begins what is asked of each service, in this order, one once the one before is done. The
    /// intent of all is durable when this returns, and all are held.
    ///
    /// # Errors
    /// As [`Engine::begin`], for any of them; then none has begun.
    pub async fn begin_together(
        &self,
        asked: Vec<(ServiceName, Request)>,
        who: Asker,
    ) -> Result<Vec<Rollout>, EngineError> {
        // In one order whoever asks, so that no two wait for each other.
        let turns: BTreeMap<_, _> =
            asked.iter().map(|(service, _)| (service, self.turn(service))).collect();
        let mut held = vec![];
        for turn in turns.into_values() {
            held.push(turn.lock_owned().await);
        }
        let _beginning = self.beginning().await;
        self.is_open()?;
        for (service, request) in &asked {
            let crew = self.crew(service)?;
            if let Some(holder) = self.under_way(service) {
                return Err(EngineError::Busy(words::holder(&holder, now())));
            }
            self.preview(&crew, request).await?;
        }
        let begun = self.write_down_together(&asked, &who).await?;
        for rollout in &begun {
            let message = format!("{} begun by {}", words::name(rollout), rollout.by);
            self.record(rollout, "rollout.begun", message);
            self.drive(rollout.clone());
        }
        Ok(begun)
    }

    async fn write_down_together(
        &self,
        asked: &[(ServiceName, Request)],
        who: &Asker,
    ) -> Result<Vec<Rollout>, EngineError> {
        let services: Vec<ServiceName> = asked.iter().map(|(name, _)| name.clone()).collect();
        let blanks: Vec<Rollout> = asked
            .iter()
            .map(|(service, request)| Rollout {
                waits: Some(Waits::of(request)),
                part_of: who.part_of,
                ..blank(service, request, nothing_yet(), who.by.clone())
            })
            .collect();
        let write = move |ids: &[RolloutId]| -> Vec<String> {
            numbered(blanks, ids).iter().map(Rollout::written).collect()
        };
        let rows = match self.keep_begun_together(services, who.part_of, write).await {
            Err(StoreError::Busy(orphan)) => {
                let service = asked.first().map(|(service, _)| service);
                return Err(match service {
                    Some(service) => self.take_up(service, orphan).await,
                    None => StoreError::Busy(orphan).into(),
                });
            }
            rows => rows?,
        };
        rows.iter().map(Rollout::read).collect()
    }

    /// All that were asked for together with `rollout`, in order; it alone where none were.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn together(&self, rollout: Rollout) -> Result<Vec<Rollout>, EngineError> {
        if rollout.convoy.is_empty() {
            return Ok(vec![rollout]);
        }
        let mut members = vec![];
        for member in &rollout.convoy {
            members.push(self.find(member.id).await?);
        }
        Ok(members)
    }
}

/// Until its turn comes.
fn nothing_yet() -> Draft {
    let (origin, served, stages) = (Stage::default(), [].into(), vec![]);
    Draft { release: None, loss: Loss::Never, origin, served, stages, preview: None }
}

fn numbered(blanks: Vec<Rollout>, ids: &[RolloutId]) -> Vec<Rollout> {
    let member =
        |(blank, id): (&Rollout, &RolloutId)| Member { service: blank.service.clone(), id: *id };
    let convoy: Vec<Member> = blanks.iter().zip(ids).map(member).collect();
    let numbers = ids.iter().copied();
    blanks
        .into_iter()
        .zip(numbers)
        .map(|(blank, id)| Rollout { id, convoy: convoy.clone(), ..blank })
        .collect()
}
