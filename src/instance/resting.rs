//! What is durable of an instance that stays as it is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    driver::Driver,
    effects::RESULT_PATIENCE,
    life::{Event, Rest, State},
    view::{Cause, Death},
};
use crate::{config::RestartPolicy, store::SlotRow};

/// In a slot's row, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resting {
    pub(super) rest: Rest,
    /// How it ended, for people.
    why: Option<String>,
}

impl Resting {
    /// What `row` says; `None` also for a text of another version, for then the instance is better
    /// started than forgotten.
    pub(super) fn read(row: &SlotRow) -> Option<Self> {
        serde_json::from_str(row.rest.as_deref()?).ok()
    }

    fn text(rest: Rest, why: Option<String>) -> Option<String> {
        serde_json::to_string(&Self { rest, why }).ok()
    }
}

/// What the row of an instance says that is meant to run, but not before its host or its daemon
/// begins afresh.
#[must_use]
pub fn stopped_for_now() -> String {
    Resting::text(Rest::Stopped, None).unwrap_or_default()
}

impl Driver {
    /// Brings about what the slot is meant to hold, as far as an earlier daemon left it undone.
    pub(super) async fn take_up(&mut self) {
        let Some(row) = self.row.clone().filter(|row| row.wanted) else {
            if self.life.state != State::Failed {
                self.handle(Event::Stop).await;
            }
            return;
        };
        if self.life.state != State::Stopped {
            return;
        }
        let generation = Some(row.generation);
        let died = |cause| Arc::new(Death { generation, cause, last_lines: vec![] });
        let is_free = self.service.depends.is_free();
        let given_up = self.service.restart.policy == RestartPolicy::Never;
        let event = match Resting::read(&row) {
            Some(Resting { rest, why }) => {
                self.death = why.map(|why| died(Cause::System(why)));
                Event::Found(rest)
            }
            // What waits for others is started by who knows them.
            None if !is_free && (row.identity.is_none() || !given_up) => return self.publish(),
            None if self.service.job.is_some() && row.identity.is_none() => return self.publish(),
            None if row.identity.is_some() => {
                self.death = Some(died(Cause::Unseen));
                Event::Vanished
            }
            None => Event::Start,
        };
        self.handle(event).await;
    }

    /// Writes down that it stays as it is now, for the next daemon to leave it so; that is durable
    /// before anybody sees it, as far as the store can be waited for.
    pub(super) async fn rest(&mut self) {
        let rest = match self.life.state {
            State::Finished => Rest::Finished,
            State::Failed => Rest::Failed,
            _ => return,
        };
        let why = self.death.as_ref().map(ToString::to_string);
        if let Some(row) = &mut self.row {
            Arc::make_mut(row).rest = Resting::text(rest, why);
            self.saving.owe(Arc::clone(row));
            let _ = timeout(RESULT_PATIENCE, self.saving.attempt(&self.ground.store)).await;
        }
    }

    /// Forgets its deaths. One that was given up is stopped afterwards, and stays meant to run: it
    /// is started with its host, or on purpose.
    pub(super) async fn forgive(&mut self) -> Result<(), super::InstanceError> {
        let was = self.life.state;
        self.handle(Event::Forgive).await;
        if was != State::Failed || self.life.state != State::Stopped {
            return Ok(());
        }
        self.death = None;
        if let Some(row) = self.row.clone().filter(|row| row.wanted) {
            let row = SlotRow { rest: Some(stopped_for_now()), ..SlotRow::clone(&row) };
            self.write(row).await?;
        }
        self.publish();
        Ok(())
    }
}
