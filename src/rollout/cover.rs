//! Which slot nginx asks where another one refuses.

use super::effects::Crew;
use crate::{ident::Slot, instance::Instance, nginx::Members};

impl Crew {
    /// nginx sends requests to `members`: they stand in for each other.
    pub(super) fn cover(&self, members: &Members) {
        for (slot, instance) in &self.instances {
            instance.cover(self.stand_in(*slot, members));
        }
    }

    /// nginx is about to send them to `members` instead: who is left out stands in for nobody.
    pub(super) fn uncover(&self, members: &Members) {
        let left =
            self.instances.iter().filter(|(slot, _)| self.stand_in(**slot, members).is_none());
        left.for_each(|(_, instance)| instance.cover(None));
    }

    fn stand_in(&self, slot: Slot, members: &Members) -> Option<&Instance> {
        let asked = members.iter().filter(|(_, role)| role.has_clients());
        let mut others = asked.map(|(port, _)| Slot::Port(*port)).filter(|other| *other != slot);
        others.find_map(|other| self.instances.get(&other))
    }
}
