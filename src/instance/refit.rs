//! Another definition of a service, for an instance that runs by the old one.

use std::sync::Arc;

use super::{
    appetite::Appetite,
    driver::Driver,
    kept::{Kept, Seen},
    life::State,
};
use crate::{config::Service, sys::confine::Confinement};

impl Driver {
    /// Goes on by `service`. What runs stays what it is, but for what the kernel changes of it.
    pub(super) fn adapt(&mut self, service: Arc<Service>) {
        let before = std::mem::replace(&mut self.service, service);
        self.refit(&before.confinement);
        self.probing.adapt(&self.service);
        let state = self.life.state;
        // An unready one is asked at once, as an adopted one is: the new probe may be content.
        let before = if matches!(state, State::Unready(_)) { State::Stopped } else { state };
        self.probing.state_changed(before, state);
        self.publish();
    }

    /// Limits and priority of what runs.
    fn refit(&mut self, old: &Confinement) {
        let new = &self.service.confinement;
        let Some(tree) = self.tree.as_mut().filter(|_| differ(old, new)) else { return };
        let known = std::mem::take(&mut self.confined);
        self.ground.launcher.relimit(tree, (old, new), known);
        self.confined = tree.confined().clone();
        self.appetite = Appetite::of(tree, new);
        let kept = |row: &crate::store::SlotRow| Kept::read(row.identity.as_deref()?);
        let Some(runs) = self.runs.as_mut() else { return };
        let seen = kept(runs).map_or(Seen::Starting, |kept| kept.seen);
        Arc::make_mut(runs).identity = Kept::of(tree, seen);
        let runs = Arc::clone(runs);
        if let Some(row) = self.row.as_mut().filter(|row| row.generation == runs.generation) {
            Arc::make_mut(row).identity.clone_from(&runs.identity);
            self.saving.owe(Arc::clone(row));
        }
        self.tell_refusals();
    }
}

fn differ(old: &Confinement, new: &Confinement) -> bool {
    (old.nice, &old.limits) != (new.nice, &new.limits)
}
