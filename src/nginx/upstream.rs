//! What nginx is asked to serve: which slot of which service, in which role.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::flip::Flag;
use crate::ident::{Port, ServiceName};

/// Number of one state of the owned file. Grows with every publish; nginx answers with it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Edition(pub u64);

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What nginx does with a member of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It gets its share of the requests.
    Serving,
    /// It gets requests only when no serving member takes them.
    Backup,
    /// It is named but gets nothing. An upstream may not be empty, so the last member stays so.
    Down,
    /// It is no member; who asks at the preview port gets it.
    Preview,
}

impl Role {
    /// Clients may get it.
    #[must_use]
    pub const fn has_clients(self) -> bool {
        matches!(self, Self::Serving | Self::Backup)
    }

    /// The word for it, the same as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Backup => "backup",
            Self::Down => "down",
            Self::Preview => "preview",
        }
    }
}

/// The members of one upstream, by port. Absent members are not listed.
pub type Members = BTreeMap<Port, Role>;

/// The members of several services.
pub type Upstreams = BTreeMap<ServiceName, Members>;

/// Everything the owned file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edited {
    /// Which state this is.
    pub edition: Edition,
    /// Members of every service behind nginx.
    pub upstreams: Upstreams,
    /// The flags of services in which a slot serves and the other one stands in, and which flip.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flips: BTreeMap<ServiceName, Flag>,
}
