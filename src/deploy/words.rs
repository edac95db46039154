//! What people read of a deploy.

use super::record::{Aim, Deploy, Harm, Order, Outcome, Schema, Scope, Step, Way};
use crate::{
    release::{Source, Upload, short},
    rollout::part::{Asker, Direction, PartOf},
};

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
            (_, Scope::Look) => "look",
            (Aim::Kept(_), _) => "rollback",
            (Aim::New(_), Scope::MigrateOnly) => "migrate",
            (Aim::New(_), Scope::Full | Scope::CodeOnly) => "deploy",
        }
    }
}

/// `rollout 7 (deploy of shop)`.
pub(super) fn name(deploy: &Deploy) -> String {
    format!("rollout {} ({} of {})", deploy.id, deploy.word(), deploy.app)
}

/// Who asks for the rollouts of its services.
pub(super) fn asker(part: PartOf) -> Asker {
    let by = match part.direction {
        Direction::Out => format!("rollout {}", part.deploy),
        Direction::Back => format!("rollout {}, going back", part.deploy),
    };
    Asker { by, part_of: Some(part) }
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
        (_, Way::Back) => {
            let order = match schema.order {
                Order::SchemaFirst => "before the services",
                Order::CodeFirst => "after the services",
            };
            Some(format!("the schema goes back to {}, {order}", place(&schema.to)))
        }
        (_, Way::Untold) => Some("what is pending cannot be told".to_owned()),
        ([], Way::Forward) => None,
        ([one], Way::Forward) => Some(format!("1 revision pending: {one}")),
        (several, Way::Forward) => {
            Some(format!("{} revisions pending: {}", several.len(), several.join(", ")))
        }
    }
}

/// Where a database is.
pub(super) fn place(revisions: &[String]) -> String {
    if revisions.is_empty() { "no revision".to_owned() } else { revisions.join(", ") }
}

/// What `deploy` leaves behind in the database when it fails with `harm`, and what to do about it:
/// going back does not reach the database.
pub(super) fn aftermath(deploy: &Deploy, harm: Harm) -> String {
    let migrated = deploy.passed.contains(&Step::Migrate);
    let Some(schema) = deploy.schema.as_ref().filter(|_| migrated || harm == Harm::Left) else {
        return String::new();
    };
    let app = &deploy.app;
    let told = match (migrated, schema.way) {
        (true, Way::Untold) => "\nthe database stays where the migration brought it".to_owned(),
        (true, Way::Forward | Way::Back) => {
            format!("\nthe database stays at {}", place(&schema.to))
        }
        (false, _) if deploy.may_have_migrated() => {
            "\naibkd ended during the migration: the database may have moved".to_owned()
        }
        (false, _) => String::new(),
    };
    let dump = deploy.dump.as_ref().map(|dump| format!("the dump from before: {dump}"));
    let back = |id: &dyn std::fmt::Display| format!("aibkctl rollback --db --to {id} --app {app}");
    let next = match (schema.way, &deploy.release, &deploy.before) {
        (Way::Back, Some(release), before) => {
            let on = format!("`{}` goes on", back(release));
            let newer = schema.newer.as_ref().or(before.as_ref());
            let forward =
                newer.map(|newer| format!("`{}` brings the schema forward again", back(newer)));
            [Some(on), forward]
        }
        (Way::Forward, _, Some(before)) if migrated => [
            Some(format!("`aibkctl deploy --app {app}` brings corrected code to this schema")),
            Some(format!("`{}` brings the schema back", back(before))),
        ],
        (..) => [
            Some(format!("`aibkctl deploy --app {app}` goes on, once it is corrected")),
            deploy.dump.as_ref().map(|dump| {
                format!("`aibkctl backup restore {dump} --yes --app {app}` brings the dump back")
            }),
        ],
    };
    let lines = dump.into_iter().chain(next.into_iter().flatten());
    lines.fold(told, |told, line| told + "\n" + &line)
}
