//! Switching colours without a reload: a flag file, for which nginx looks at each request. Pure.
//!
//! Both colours are upstreams of their own, each with the other as backup, wherever one slot serves
//! and the other one stands in. Which of the two is used says the flag, in the site's own lines and
//! in the proof's. With any other members both upstreams are the same, and the flag says nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Edited, Members, Proxied, Role, Site, Upstreams};
use crate::{
    config::Slots,
    ident::{Port, ServiceName},
};

/// How the traffic of a service goes from one slot to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// By another file, and a reload.
    Reload,
    /// By a flag, where both slots stay in the upstream.
    Flip(Flip),
}

/// What a service that flips has of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    /// The first slot: it serves without a flag.
    pub(super) blue: Port,
    /// The second slot.
    pub(super) green: Port,
    /// Its flag.
    pub(super) flag: Flag,
}

impl Flip {
    /// `service` on `slots`, with its flag in `directory`; `None` where there are not two slots.
    #[must_use]
    pub fn new(service: &ServiceName, slots: Slots, directory: &Path) -> Option<Self> {
        let Slots::Two { blue, green } = slots else { return None };
        let stem = directory.join(format!("aibk-{service}"));
        Some(Self { blue, green, flag: Flag(stem.to_str()?.to_owned()) })
    }

    /// Which colour serves with `members`, where the flag says it.
    pub(super) fn colour(&self, members: &Members) -> Option<Colour> {
        let role = |port| members.get(port).copied();
        match (members.len(), role(&self.blue), role(&self.green)) {
            (2, Some(Role::Serving), Some(Role::Backup)) => Some(Colour::Blue),
            (2, Some(Role::Backup), Some(Role::Serving)) => Some(Colour::Green),
            _ => None,
        }
    }
}

/// Which of the two slots serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// The first.
    Blue,
    /// The second.
    Green,
}

impl Colour {
    /// The word for it, in upstreams' and flags' names.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

/// A file that has one of two names, `STEM.blue` or `STEM.green`, and is renamed from one to the
/// other: nginx looks for the second alone, and we see whether somebody else removed it or made one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flag(String);

impl Flag {
    /// Its name when it says `colour`.
    pub(super) fn path(&self, colour: Colour) -> PathBuf {
        PathBuf::from(self.name(colour))
    }

    /// The same as text, as it stands in nginx's syntax.
    pub(super) fn name(&self, colour: Colour) -> String {
        format!("{}.{}", self.0, colour.as_str())
    }

    /// Without its colour.
    pub(super) fn stem(&self) -> &str {
        &self.0
    }
}

/// What a flag was seen to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// The file is there, once.
    Sound(Colour),
    /// It is not there: nginx takes that for blue.
    Missing,
    /// It is there under both names: nginx takes that for green.
    Doubled,
}

impl Seen {
    /// What nginx makes of it.
    pub(super) const fn colour(self) -> Colour {
        match self {
            Self::Sound(colour) => colour,
            Self::Missing => Colour::Blue,
            Self::Doubled => Colour::Green,
        }
    }
}

/// One flag that is to say something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// Whose.
    pub(super) service: ServiceName,
    /// Which.
    pub(super) flag: Flag,
    /// What nginx makes of it now.
    pub(super) from: Colour,
    /// What it is to say.
    pub(super) to: Colour,
}

impl Turn {
    /// Back to where it was.
    pub(super) fn back(&self) -> Self {
        Self { from: self.to, to: self.from, ..self.clone() }
    }
}

/// The flags of those that flip.
pub(super) fn flags<'a>(site: impl Iterator<Item = &'a Proxied>) -> Vec<Flag> {
    let flag = |switch: &Switch| match switch {
        Switch::Flip(flip) => Some(flip.flag.clone()),
        Switch::Reload => None,
    };
    site.filter_map(|proxied| flag(&proxied.switch)).collect()
}

/// The flags that say something for `upstreams`: where one of the two slots stands in for the other.
pub(super) fn flips(upstreams: &Upstreams, site: &Site) -> BTreeMap<ServiceName, Flag> {
    let flag = |(service, members): (&ServiceName, &Members)| match &site.get(service)?.switch {
        Switch::Flip(flip) => flip.colour(members).map(|_| (service.clone(), flip.flag.clone())),
        Switch::Reload => None,
    };
    upstreams.iter().filter_map(flag).collect()
}

/// What `written`, as the file has it, means with its flags as `seen`.
pub(super) fn with_flags(written: Edited, seen: impl Fn(&Flag) -> Seen) -> Edited {
    let mut meant = written;
    for (service, flag) in &meant.flips {
        if let Some(members) = meant.upstreams.get_mut(service)
            && seen(flag).colour() == Colour::Green
        {
            *members = exchanged(members);
        }
    }
    meant
}

/// The same whatever its flags say.
pub(super) fn but_for_flags(edited: &Edited) -> Edited {
    let mut same = edited.clone();
    for members in edited.flips.keys().filter_map(|service| edited.upstreams.get_key_value(service))
    {
        if members.1.values().next() == Some(&Role::Backup) {
            same.upstreams.insert(members.0.clone(), exchanged(members.1));
        }
    }
    same
}

/// Each in the role of the other.
pub(super) fn exchanged(members: &Members) -> Members {
    let other = |role| match role {
        Role::Serving => Role::Backup,
        Role::Backup => Role::Serving,
        Role::Down | Role::Preview | Role::Canary(_) => role,
    };
    members.iter().map(|(port, role)| (*port, other(*role))).collect()
}

#[cfg(test)]
#[path = "flip_tests.rs"]
pub(super) mod tests;
