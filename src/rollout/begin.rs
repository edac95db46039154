//! The beginning of a rollout: drafted upon what is seen, looked at, and written down.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    EngineError,
    clients::Clients,
    draft::{self, Draft, Request},
    effects::Crew,
    engine::Engine,
    forecast::{self, Foreseen},
    plan, preflight,
    record::{Course, DOCUMENT, Kind, Rollout, now},
    words,
    world::World,
};
use crate::{
    ident::{RolloutId, ServiceName},
    store::StoreError,
};

/// What a rollout would do.
#[derive(Debug)]
pub struct Prospect {
    /// On whom.
    pub crew: Arc<Crew>,
    /// As it would begin.
    pub rollout: Rollout,
    /// Its steps, where nothing fails.
    pub steps: Vec<Foreseen>,
    /// Who holds the service now.
    pub holder: Option<String>,
}

impl Engine {
    /// Begins what `request` asks of `service`; its intent is durable when this returns.
    ///
    /// # Errors
    /// Refused, busy, or not to be written down; nothing has changed then.
    pub async fn begin(
        &self,
        service: &ServiceName,
        request: Request,
        by: String,
    ) -> Result<Rollout, EngineError> {
        let turn = self.turn(service);
        let _turn = turn.lock().await;
        let _beginning = self.beginning().await;
        self.is_open()?;
        // Not before: it may have been replaced meanwhile.
        let crew = self.crew(service)?;
        if let Some(holder) = self.under_way(service) {
            return Err(EngineError::Busy(words::holder(&holder, now())));
        }
        if request.kind == Kind::Rollback {
            self.has_old_colour(service).await?;
        }
        let world = crew.observe().await?;
        let draft = draft::draft(&request, &crew.service, &world)?;
        if request.kind != Kind::Boot {
            preflight::check(&crew.service, &draft, &world).await?;
        }
        let clients = crew.begin_counting(request.kind, &world).await;
        let rollout = self.write_down(service, request, draft, by, clients).await?;
        self.drive(rollout.clone());
        Ok(rollout)
    }

    /// Like [`Engine::begin`], unless the service is there already.
    ///
    /// # Errors
    /// As [`Engine::begin`].
    pub async fn begin_if_needed(
        &self,
        service: &ServiceName,
        request: Request,
        by: String,
    ) -> Result<Option<Rollout>, EngineError> {
        let crew = self.crew(service)?;
        let world = crew.observe().await?;
        let draft = draft::draft(&request, &crew.service, &world)?;
        if draft.stages.iter().all(|stage| plan::is_reached(stage, &world)) {
            return Ok(None);
        }
        self.begin(service, request, by).await.map(Some)
    }

    /// Looks whether `request` could begin on `crew`, and begins nothing.
    ///
    /// # Errors
    /// As [`Engine::begin`].
    pub async fn preview(&self, crew: &Crew, request: &Request) -> Result<(), EngineError> {
        let world = crew.observe().await?;
        let draft = draft::draft(request, &crew.service, &world)?;
        preflight::check(&crew.service, &draft, &world).await
    }

    /// What `request` would do to `service`, were it begun now, or, where another rollout holds the
    /// service, once that has come to what it means to. Changes nothing.
    ///
    /// # Errors
    /// As [`Engine::begin`], but for the other rollout.
    pub async fn forecast(
        &self,
        service: &ServiceName,
        request: &Request,
    ) -> Result<Prospect, EngineError> {
        let crew = self.crew(service)?;
        let holder = self.under_way(service);
        if request.kind == Kind::Rollback && holder.is_none() {
            self.has_old_colour(service).await?;
        }
        let seen = crew.observe().await?;
        let world = match &holder {
            Some(holder) => left_by(holder, &crew, &seen),
            None => seen.clone(),
        };
        let draft = draft::draft(request, &crew.service, &world)?;
        // What is in a slot now is no stranger there, although it may be gone by then.
        preflight::check(&crew.service, &draft, &seen).await?;
        let rollout = blank(service, request, draft, String::new());
        let steps = forecast::forecast(&rollout, &world);
        let holder = holder.map(|holder| words::holder(&holder, now()));
        Ok(Prospect { crew, rollout, steps, holder })
    }

    async fn write_down(
        &self,
        service: &ServiceName,
        request: Request,
        draft: Draft,
        by: String,
        clients: Clients,
    ) -> Result<Rollout, EngineError> {
        let blank = Rollout { clients, ..blank(service, &request, draft, by) };
        let with_id = blank.clone();
        let write = move |id| Rollout { id, ..with_id }.written();
        let row = match self.keep_begun(service, write).await {
            Err(StoreError::Busy(orphan)) => return Err(self.take_up(service, orphan).await),
            row => row?,
        };
        let rollout = Rollout { id: row.id, ..blank };
        self.record(
            &rollout,
            "rollout.begun",
            format!("{} begun by {}", words::name(&rollout), rollout.by),
        );
        Ok(rollout)
    }
}

/// The world as `holder` means to leave it, also where its turn has not come.
fn left_by(holder: &Rollout, crew: &Crew, seen: &World) -> World {
    let mut holder = holder.clone();
    let drafted = holder.request().and_then(|asked| draft::draft(&asked, &crew.service, seen).ok());
    if let Some(drafted) = drafted {
        holder.set_out(drafted, Clients::Unasked, now());
    }
    forecast::outlook(&holder, seen)
}

/// A rollout that has no id and has taken no step.
pub(super) fn blank(service: &ServiceName, request: &Request, draft: Draft, by: String) -> Rollout {
    Rollout {
        document: DOCUMENT,
        id: RolloutId(0),
        service: service.clone(),
        kind: request.kind,
        slot: request.slot,
        release: draft.release,
        by,
        part_of: None,
        begun: now(),
        ended: None,
        loss: draft.loss,
        origin: draft.origin,
        served: draft.served,
        stages: draft.stages,
        at: 0,
        watched: false,
        course: Course::Forward,
        // A boot has nothing to go back to.
        committed: request.kind == Kind::Boot,
        drained: BTreeSet::new(),
        exposed: BTreeSet::new(),
        stopped: BTreeSet::new(),
        steps: vec![],
        failure: None,
        preview: draft.preview,
        clients: Clients::Unasked,
        undo: None,
        convoy: vec![],
        waits: None,
        revision: 0,
    }
}
