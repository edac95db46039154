//! The time until the turn of a rollout comes that was asked for together with others.

use std::time::Duration;

use super::{
    EngineError,
    convoy::{self, Turn},
    draft,
    drive::Drive,
    preflight,
    record::{Rollout, now},
    waiting::Stirring,
};
use crate::sync_point;

impl Drive {
    /// Waits until its turn has come, and decides upon what is seen then what it goes through. When
    /// this returns it has set out, or has ended, or the daemon is ending.
    pub(super) async fn await_turn(&mut self) {
        while self.rollout.outcome().is_none() && !*self.frozen.borrow() {
            let Some(request) = self.rollout.request() else { return };
            if let Some(why) = self.cancelled.borrow().clone() {
                return self.rollout.forgo(&why);
            }
            let mut stirring = self.stirring();
            let again = self.tend().await;
            match self.turn(&mut stirring, again).await {
                Turn::NotYet => {}
                Turn::Never(why) => self.rollout.forgo(&why),
                Turn::Now => {
                    sync_point!("rollout.turn");
                    if let Err(e) = self.set_out(&request).await {
                        self.rollout.forgo(&e.to_string());
                    } else {
                        self.save().await;
                    }
                }
            }
        }
    }

    /// [`Turn::NotYet`] once something has happened.
    async fn turn(&mut self, stirring: &mut Stirring, again: Option<Duration>) -> Turn {
        let Some(before) = self.rollout.before().cloned() else { return Turn::Now };
        let Some(mut going) = self.engine.watch_of(&before.service, before.id) else {
            return match self.engine.find(before.id).await {
                Ok(ended) if ended.outcome().is_some() => convoy::turn(&ended),
                Ok(_) => Turn::Never(format!("{} is not configured any more", before.service)),
                Err(e) => Turn::Never(e.to_string()),
            };
        };
        tokio::select! {
            biased;
            _ = self.frozen.wait_for(|frozen| *frozen) => Turn::NotYet,
            _ = self.cancelled.wait_for(Option::is_some) => Turn::NotYet,
            () = stirring.changed() => Turn::NotYet,
            () = tokio::time::sleep(again.unwrap_or(Duration::MAX)) => Turn::NotYet,
            ended = going.wait_for(|before: &Rollout| before.outcome().is_some()) => {
                // Where nobody drives it any more, it is looked at once more.
                ended.map_or(Turn::NotYet, |ended| convoy::turn(&ended))
            }
        }
    }

    async fn set_out(&mut self, request: &draft::Request) -> Result<(), EngineError> {
        let crew = self.engine.crew(&self.rollout.service)?;
        let world = crew.observe().await?;
        let draft = draft::draft(request, &crew.service, &world)?;
        preflight::check(&crew.service, &draft, &world).await?;
        let clients = crew.begin_counting(request.kind, &world).await;
        self.rollout.set_out(draft, clients, now());
        Ok(())
    }
}
