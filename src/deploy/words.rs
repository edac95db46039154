//! What people read of a deploy.

use super::{
    record::{Aim, Deploy, Outcome, Schema, Scope, Step, Way},
    rolling::Direction,
};
use crate::release::{Source, Upload, short};

impl Step {
    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Build => "build",
            Self::Check => "check",
            Self::Backup => "backup",
            Self::Migrate => "migrate",
            Self::RollOut => "roll-out",
            Self::RollBack => "roll-back",
            Self::Settle => "settle",
            Self::Prune => "prune",
        }
    }
}

impl Deploy {
    /// Its kind, as a word: `deploy`, `migrate`, `rollback`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match (&self.aim, self.scope) {
            (Aim::Kept(_), _) => "rollback",
            (Aim::New(_), Scope::MigrateOnly) => "migrate",
            (Aim::New(_), Scope::Look) => "look",
            (Aim::New(_), Scope::Full | Scope::CodeOnly) => "deploy",
        }
    }
}

/// `rollout 7 (deploy of shop)`.
pub(super) fn name(deploy: &Deploy) -> String {
    format!("rollout {} ({} of {})", deploy.id, deploy.word(), deploy.app)
}

/// Who asks for the rollouts of its services. By this they are found again where the daemon died
/// before it wrote them down.
pub(super) fn asker(deploy: &Deploy, direction: Direction) -> String {
    match direction {
        Direction::Out => format!("rollout {}", deploy.id),
        Direction::Back => format!("rollout {}, going back", deploy.id),
    }
}

/// Why a deploy that somebody turned back goes back.
pub(super) fn cancelled(by: &str) -> String {
    format!("cancelled by {by}")
}

/// Who holds an application, since when, at which step.
pub(super) fn holder(holder: &Deploy, now: i64) -> String {
    let age = now.saturating_sub(holder.begun) / 1_000_000;
    let at = holder.steps.last().map(|taken| format!(", at step `{}`", taken.step.word()));
    format!(
        "{} is under way, begun {age} s ago by {}{}",
        name(holder),
        holder.by,
        at.unwrap_or_default()
    )
}

/// How it ended.
pub(super) fn closing(deploy: &Deploy) -> String {
    let what = name(deploy);
    let why = deploy.failure.as_deref().and_then(|why| why.lines().next());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    match deploy.outcome() {
        Some(Outcome::Done) | None => format!("{what} is done"),
        Some(Outcome::Undone) => {
            format!("{what} failed, and what serves is what served before{why}")
        }
        Some(Outcome::Stuck) => format!("{what} failed and is stuck{why}"),
    }
}

/// `1a2b3c4d5e6f Let accounts be closed`.
pub(super) fn source(source: &Source, upload: Option<&Upload>) -> String {
    let forced = if source.rewritten() { " (the branch was forced)" } else { "" };
    let what = source.commit.as_ref().map(|commit| commit.subject.clone());
    let sent = || Some(format!("of an archive with the SHA-256 {}", upload?.sha256));
    let what = what.or_else(sent).unwrap_or_default();
    format!("{} {what}{forced}", short(&source.digest)).trim_end().to_owned()
}

/// `2 revisions pending: 1a, 2b`.
pub(super) fn pending(schema: &Schema) -> Option<String> {
    match (schema.pending.as_slice(), schema.way) {
        (_, Way::Back) => Some(format!("the schema goes back to {}", schema.to.join(", "))),
        (_, Way::Untold) => Some("what is pending cannot be told".to_owned()),
        ([], Way::Forward) => None,
        ([one], Way::Forward) => Some(format!("1 revision pending: {one}")),
        (several, Way::Forward) => {
            Some(format!("{} revisions pending: {}", several.len(), several.join(", ")))
        }
    }
}
