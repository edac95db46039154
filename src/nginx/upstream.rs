//! What nginx is asked to serve: which slot of which service, in which role.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::flip::Flag;
use crate::{
    config::Share,
    ident::{Port, ServiceName},
};

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
#[serde(into = "String", try_from = "String")]
pub enum Role {
    /// It gets its share of the requests.
    Serving,
    /// It gets requests only when no serving member takes them.
    Backup,
    /// It is named but gets nothing. An upstream may not be empty, so the last member stays so.
    Down,
    /// It is no member; who asks at the preview port gets it.
    Preview,
    /// It gets this part of the requests, and those that serve the rest.
    Canary(Share),
}

impl Role {
    /// Clients may get it.
    #[must_use]
    pub const fn has_clients(self) -> bool {
        self.is_asked() || matches!(self, Self::Backup)
    }

    /// Clients get it, whoever else is there.
    #[must_use]
    pub const fn is_asked(self) -> bool {
        matches!(self, Self::Serving | Self::Canary(_))
    }
}

/// The word for it, the same as in JSON and in the file: nothing in it means anything to nginx.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => f.write_str("serving"),
            Self::Backup => f.write_str("backup"),
            Self::Down => f.write_str("down"),
            Self::Preview => f.write_str("preview"),
            Self::Canary(share) => write!(f, "{CANARY}{share}"),
        }
    }
}

/// `canary 5%`.
const CANARY: &str = "canary ";

impl From<Role> for String {
    fn from(role: Role) -> Self {
        role.to_string()
    }
}

impl TryFrom<String> for Role {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let share = || word.strip_prefix(CANARY)?.strip_suffix('%')?.parse().ok();
        match word.as_str() {
            "serving" => Ok(Self::Serving),
            "backup" => Ok(Self::Backup),
            "down" => Ok(Self::Down),
            "preview" => Ok(Self::Preview),
            _ => share()
                .and_then(Share::new)
                .map(Self::Canary)
                .ok_or_else(|| format!("`{word}` is no role of a member")),
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
