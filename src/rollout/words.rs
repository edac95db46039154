//! How rollouts are spoken of.

use super::record::{Kind, Step};
use crate::{
    ident::{InstanceId, ServiceName, Slot},
    nginx::{Members, Role},
};

impl Kind {
    /// The word on the command line and in events.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Swap => "swap",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Retire => "retire",
            Self::Boot => "boot",
        }
    }
}

impl Step {
    /// Its name.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::AwaitReady { .. } => "await-ready",
            Self::Publish { .. } => "publish",
            Self::Watch { .. } => "watch",
            Self::Drain { .. } => "drain",
            Self::Stop { .. } => "stop",
        }
    }

    /// What it acts on.
    #[must_use]
    pub fn subject(&self, service: &ServiceName) -> String {
        let instance = |slot: Slot| InstanceId::new(service.clone(), slot).to_string();
        match self {
            Self::Start { slot, .. }
            | Self::AwaitReady { slot }
            | Self::Drain { slot }
            | Self::Stop { slot } => instance(*slot),
            Self::Publish { members } => roster(members),
            Self::Watch { slots } => {
                slots.iter().map(|slot| instance(*slot)).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

fn roster(members: &Members) -> String {
    let one = |(port, role): (&crate::ident::Port, &Role)| match role {
        Role::Serving => port.to_string(),
        Role::Backup => format!("{port} (backup)"),
        Role::Down => format!("{port} (down)"),
    };
    members.iter().map(one).collect::<Vec<_>>().join(" ")
}
