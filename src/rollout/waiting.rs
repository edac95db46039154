//! The health of a service whose rollout waits for its turn. That rollout holds the service, so no other
//! one can take a dead member out of the upstream: it does so itself, and brings it back.

use std::time::Duration;

use super::{
    EngineError,
    begin::blank,
    draft::{self, Request},
    drive::Drive,
    effects::Crew,
    plan::{self, Next},
    record::{Kind, Step},
    relief::{self, AGAIN},
    words,
    world::World,
};
use crate::{ident::Slot, instance::View, latest, nginx::Members, sync_point};
use futures_util::future::select_all;

/// The instances of a service as they were when they were looked at.
pub(super) struct Stirring(Vec<latest::Receiver<View>>);

impl Stirring {
    /// Returns once one of them has changed.
    pub(super) async fn changed(&mut self) {
        let changes = self.0.iter_mut().map(|view| {
            Box::pin(async {
                if view.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        });
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            std::future::pending::<()>().await;
        }
        select_all(changes).await;
    }
}

impl Drive {
    /// The instances of its service, from now on.
    pub(super) fn stirring(&self) -> Stirring {
        let crew = self.engine.crew(&self.rollout.service).ok();
        let views = crew.iter().flat_map(|crew| crew.instances.values()).map(|instance| {
            let mut view = instance.watch();
            drop(view.borrow_and_update());
            view
        });
        Stirring(views.collect())
    }

    /// Takes a member that is ill out of the upstream while another one is ready, and brings it back
    /// once it is well; says when to look again although nothing happens.
    pub(super) async fn tend(&mut self) -> Option<Duration> {
        match self.tended().await {
            Ok(()) => None,
            Err(why) => {
                let message = format!(
                    "{} waits, and a member that is ill stays: {why}",
                    words::name(&self.rollout)
                );
                self.engine.record(&self.rollout, "rollout.untended", message);
                Some(AGAIN)
            }
        }
    }

    async fn tended(&mut self) -> Result<(), String> {
        let Ok(crew) = self.engine.crew(&self.rollout.service) else { return Ok(()) };
        let relieved = self.rollout.waits.as_ref().and_then(|waits| waits.relieved);
        if crew.nginx.is_none() || !relief::may_need_care(&crew, relieved) {
            return Ok(());
        }
        let world = crew.observe().await.map_err(|e| e.to_string())?;
        let Some((kind, slot)) = relief::traffic(&crew, &world, relieved) else { return Ok(()) };
        let Some(members) = self.members(&crew, &world, (kind, slot)).map_err(|e| e.to_string())?
        else {
            return Ok(());
        };
        // Known before it is out, so that whoever comes after brings it back.
        self.note_relieved(Some(slot)).await;
        sync_point!("rollout.tended");
        let note = crew.publish(&members, &self.rollout).await?;
        if kind == Kind::Restore {
            self.note_relieved(None).await;
        }
        let message = format!(
            "{} waits; {} {slot}{}",
            words::name(&self.rollout),
            kind.word(),
            words::tail(note.as_deref())
        );
        self.engine.record(&self.rollout, "rollout.tended", message);
        Ok(())
    }

    /// What a rollout of `kind` on `slot` would publish.
    fn members(
        &self,
        crew: &Crew,
        world: &World,
        (kind, slot): (Kind, Slot),
    ) -> Result<Option<Members>, EngineError> {
        let Some(waits) = &self.rollout.waits else { return Ok(None) };
        let request = Request { slot: Some(slot), ..Request::of(kind, waits.current.clone()) };
        let drafted = draft::draft(&request, &crew.service, world)?;
        let rollout = blank(&self.rollout.service, &request, drafted, self.rollout.by.clone());
        Ok(match plan::next_step(&rollout, world) {
            Next::Do(Step::Publish { members }) => Some(members),
            _ => None,
        })
    }

    async fn note_relieved(&mut self, slot: Option<Slot>) {
        if let Some(waits) = &mut self.rollout.waits
            && waits.relieved != slot
        {
            waits.relieved = slot;
            self.rollout.revision += 1;
            self.save().await;
        }
    }
}
