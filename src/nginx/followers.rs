//! Workers from before a reload that go on choosing by a flag: with the flag elsewhere they send
//! nothing to a slot, however long a websocket keeps them alive.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
};

use super::{
    Edited, Nginx, Switch, flag,
    flip::{Colour, Flag},
    master,
};
use crate::ident::Port;

/// Which workers obey which flag. A daemon that came up since knows of none, and waits for all.
pub(super) type Followers = BTreeMap<Flag, BTreeSet<i32>>;

/// Who chooses by the flag of one slot.
#[derive(Debug, Clone)]
pub(super) struct Follows {
    /// The flag, and what it says when the slot serves; `None` where the service does not flip.
    own: Option<(Flag, Colour)>,
    workers: BTreeSet<i32>,
}

impl Follows {
    /// The slot's service flips.
    pub(super) const fn flips(&self) -> bool {
        self.own.is_some()
    }

    /// Worker `pid` obeys a flag that says the other slot now.
    pub(super) fn elsewhere(&self, pid: i32) -> bool {
        self.workers.contains(&pid)
            && self.own.as_ref().is_some_and(|(flag, own)| flag::look(flag).colour() != *own)
    }
}

impl Nginx {
    /// `workers` serve what `served` says, and are about to be replaced.
    pub(super) fn note_followers(&self, served: &Edited, workers: &[i32]) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        for old in followers.values_mut() {
            old.retain(|pid| master::is_leaving(*pid));
        }
        for flag in served.flips.values() {
            followers.entry(flag.clone()).or_default().extend(workers);
        }
        followers.retain(|_, old| !old.is_empty());
    }

    /// Who chooses by the flag of the service that has the slot `port`.
    pub(super) fn follows(&self, port: Port) -> Follows {
        let site = self.site();
        let own = site.values().find_map(|proxied| match &proxied.switch {
            Switch::Flip(flip) if flip.blue == port => Some((flip.flag.clone(), Colour::Blue)),
            Switch::Flip(flip) if flip.green == port => Some((flip.flag.clone(), Colour::Green)),
            Switch::Flip(_) | Switch::Reload => None,
        });
        let followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = own.as_ref().and_then(|(flag, _)| followers.get(flag).cloned());
        Follows { own, workers: workers.unwrap_or_default() }
    }
}
