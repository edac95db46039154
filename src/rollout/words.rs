//! How rollouts are spoken of.

use super::record::{Kind, Outcome, Rollout, Step};
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
            Self::Rollback => "rollback",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Retire => "retire",
            Self::Boot => "boot",
            Self::Reconfigure => "reconfigure",
            Self::Remove => "remove",
            Self::Relieve => "relieve",
            Self::Restore => "restore",
            Self::Replace => "replace",
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
            Self::Hold { .. } => "hold",
            Self::Drain { .. } => "drain",
            Self::Stop { .. } => "stop",
            Self::Replace { .. } => "replace",
            Self::Dismiss { .. } => "dismiss",
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
            | Self::Hold { slot }
            | Self::Replace { slot, .. }
            | Self::Dismiss { slot }
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
        Role::Preview => format!("{port} (preview)"),
        Role::Canary(share) => format!("{port} ({share})"),
    };
    members.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// `, 25% of the traffic to api@8001`; nothing where none of `members` gets a part.
pub(super) fn shared(service: &ServiceName, members: &Members) -> String {
    let part = members.iter().find_map(|(port, role)| match role {
        Role::Canary(share) => Some((Slot::Port(*port), share)),
        _ => None,
    });
    part.map_or_else(String::new, |(slot, share)| {
        format!(", {share} of the traffic to {}", InstanceId::new(service.clone(), slot))
    })
}

/// `rollout 7 (swap of api)`.
pub(super) fn name(rollout: &Rollout) -> String {
    format!("rollout {} ({} of {})", rollout.id, rollout.kind.word(), rollout.service)
}

/// Who holds a service, since when, at which step (`S2`).
pub(super) fn holder(holder: &Rollout, now: i64) -> String {
    let age = now.saturating_sub(holder.begun) / 1_000_000;
    let at = match (holder.steps.last(), holder.before()) {
        (Some(taken), _) => format!(", at step `{}`", step(holder, &taken.step)),
        (None, Some(before)) if holder.is_idle() => format!(", waiting for {}", before.service),
        (None, _) => String::new(),
    };
    format!("{} is under way, begun {age} s ago by {}{at}", name(holder), holder.by)
}

/// That it waits for an operator.
pub(super) fn held(rollout: &Rollout) -> String {
    let service = &rollout.service;
    let at = rollout.preview.as_ref().map(|preview| format!(" at http://{}/", preview.address));
    format!(
        "{} is held: try it{}, then `aibkctl promote {service}` or `aibkctl abort {service}`",
        name(rollout),
        at.unwrap_or_default()
    )
}

/// How it ended.
pub(super) fn closing(rollout: &Rollout) -> String {
    let what = name(rollout);
    // The step that failed told the rest.
    let why = rollout.failure.as_deref().and_then(|why| why.lines().next());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let cut = cut(rollout.cut()).map(|cut| format!(", {cut}")).unwrap_or_default();
    match rollout.outcome() {
        Some(Outcome::Done) | None => format!("{what} is done{cut}"),
        Some(Outcome::Undone) if rollout.was_forgone() => format!("{what} was not begun{why}"),
        Some(Outcome::Undone) => format!("{what} failed and was undone{cut}{why}"),
        Some(Outcome::Stuck) => format!("{what} failed and is stuck{cut}{why}"),
    }
}

/// `2 requests were cut`; `None` where none was.
pub(super) fn cut(requests: usize) -> Option<String> {
    match requests {
        0 => None,
        1 => Some("1 request was cut".to_owned()),
        n => Some(format!("{n} requests were cut")),
    }
}

/// `publish 8000 8001`.
pub(super) fn step(rollout: &Rollout, step: &Step) -> String {
    format!("{} {}", step.word(), step.subject(&rollout.service))
}

/// `publish 8000, drain api@8001, stop api@8001`.
pub(super) fn undoing(rollout: &Rollout, steps: &[Step]) -> String {
    if steps.is_empty() {
        return "nothing has to be undone".to_owned();
    }
    steps.iter().map(|undo| step(rollout, undo)).collect::<Vec<_>>().join(", ")
}

/// A note behind something.
pub(super) fn tail(note: Option<&str>) -> String {
    note.map(|note| format!(": {note}")).unwrap_or_default()
}
