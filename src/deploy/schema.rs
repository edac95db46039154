//! The steps that are about the database: what a release needs of it, a dump before it is touched, and
//! bringing it there.

use super::{
    hands::{Hands, Tell, release},
    making::Hear,
    record::{Aim, Deploy, Harm, Learnt, Off, Schema, Scope, Setback, Told, Way},
    report,
};
use crate::{
    backup::{self, Order, Reason},
    ident::ReleaseId,
    migration::{self, At, MigrationError, Pending, python_of},
    process::Stream,
    release::{Censor, Lines},
};

/// What is said of a release that the database has left behind.
const LEFT_BEHIND: &str = "its code may not run on this schema. \
     `aibkctl rollback --db` brings the schema back first, after a dump; \
     `aibkctl backup restore` brings a dump back; `--to` names a release that knows it";

impl Hands {
    /// What `deploy` needs of the database, and that in lines; `None` where it leaves it alone, or aibk
    /// knows of none.
    pub(super) async fn look_at_schema(
        &self,
        deploy: &Deploy,
        hear: Hear<'_>,
    ) -> Result<(Option<Schema>, Vec<String>), Setback> {
        if self.app.migrate.is_none() {
            return Ok((None, report::schema(None, &[])));
        }
        let id = release(deploy)?;
        match (self.pending_of(id, hear).await, &deploy.aim, deploy.scope) {
            (Ok(pending), Aim::New(_), Scope::Full | Scope::MigrateOnly | Scope::Look) => {
                let warnings: Vec<_> = pending.warnings.iter().map(ToString::to_string).collect();
                for warning in &warnings {
                    hear(&format!("warning: {warning}"));
                }
                let schema = Schema::forward(pending);
                let told = report::schema(Some(&schema), &warnings);
                Ok((Some(schema), told))
            }
            (Ok(_), ..) => Ok((None, report::schema(None, &[]))),
            (Err(MigrationError::Unknown { at, heads }), Aim::Kept(_), Scope::Full) => {
                let way = Way::Back;
                let back = Schema { from: vec![at], to: heads, way, ..Schema::default() };
                Ok((Some(back), vec![]))
            }
            (Err(error @ MigrationError::Unknown { .. }), Aim::Kept(_), _) => {
                Err(format!("{error}\n{LEFT_BEHIND}").into())
            }
            (Err(error), ..) => Err(error.to_string().into()),
        }
    }

    async fn pending_of(&self, id: &ReleaseId, hear: Hear<'_>) -> Result<Pending, MigrationError> {
        let directory = self.workshop().places.releases.join(&id.0);
        let python = python_of(&directory);
        let at = At { directory: &directory, python: &python };
        let censor = Censor::of(&self.env_file());
        let mut ears = Ears::new(&censor);
        let mut pieces = |stream, piece: &[u8]| ears.take(stream, piece, hear);
        let pending = migration::check(&self.launcher, &self.app, at, &mut pieces).await;
        ears.finish(hear);
        pending
    }

    /// `D1`: made anew, however young another dump is.
    pub(super) async fn dump(&self, deploy: &Deploy, tell: Tell<'_>) -> Result<Off, Setback> {
        let to = deploy.schema.as_ref().map(|schema| schema.to.clone()).unwrap_or_default();
        let release = deploy.before.clone();
        let order = Order { release, ..Order::new(Reason::BeforeMigration { to }) };
        let tell = |progress: backup::Progress| tell(Told::Line(progress.to_string()));
        let made = backup::create(&self.launcher, &self.app, order, &tell).await;
        let made = made.map_err(|e| e.to_string())?;
        let note = format!("{}, {}", made.name, backup::size(made.size));
        Ok(Off { note: Some(note), learnt: Learnt::Dump(made.name.to_string()) })
    }

    /// By the newer release in either direction: the older one does not know the way.
    pub(super) async fn migrate(&self, deploy: &Deploy, hear: Hear<'_>) -> Result<Off, Setback> {
        let Some(schema) = &deploy.schema else { return Ok(Off::QUIET) };
        let newer = if schema.way == Way::Back { &deploy.before } else { &deploy.release };
        let Some(newer) = newer else {
            return Err("it is not known which release the schema is of".to_owned().into());
        };
        let directory = self.workshop().places.releases.join(&newer.0);
        let python = python_of(&directory);
        let at = At { directory: &directory, python: &python };
        let (launcher, app) = (&self.launcher, &self.app);
        let back_to = schema.to.first().filter(|_| schema.way == Way::Back);
        let censor = Censor::of(&self.env_file());
        let mut ears = Ears::new(&censor);
        let mut pieces = |stream, piece: &[u8]| ears.take(stream, piece, hear);
        let moved = match back_to {
            Some(revision) => migration::downgrade(launcher, app, at, revision, &mut pieces).await,
            None => migration::upgrade(launcher, app, at, &mut pieces).await,
        };
        ears.finish(hear);
        match moved {
            Ok(now) if now.is_empty() => Ok(Off::QUIET),
            Ok(now) => Ok(Off::saying(format!("the database is at {}", now.join(", ")))),
            Err(error) => {
                let harm = harm(&error, schema);
                let dump =
                    deploy.dump.as_ref().map(|dump| format!("\nthe dump from before: {dump}"));
                Err(Setback { why: format!("{error}{}", dump.unwrap_or_default()), harm })
            }
        }
    }
}

/// Both streams of a program, heard as lines.
struct Ears<'c> {
    out: Lines<'c>,
    err: Lines<'c>,
}

impl<'c> Ears<'c> {
    const fn new(censor: &'c Censor) -> Self {
        Self { out: Lines::new(censor), err: Lines::new(censor) }
    }

    fn take(&mut self, stream: Stream, piece: &[u8], hear: Hear<'_>) {
        match stream {
            Stream::Stdout => self.out.take(piece, hear),
            Stream::Stderr => self.err.take(piece, hear),
        }
    }

    fn finish(&mut self, hear: Hear<'_>) {
        self.out.finish(hear);
        self.err.finish(hear);
    }
}

/// Whether a migration that failed has changed the database all the same.
fn harm(error: &MigrationError, schema: &Schema) -> Harm {
    match error {
        MigrationError::Stopped { at, .. } if *at != schema.from => Harm::Left,
        MigrationError::Elsewhere { .. } => Harm::Left,
        _ => Harm::None,
    }
}

impl Schema {
    fn forward(pending: Pending) -> Self {
        Self {
            from: pending.current,
            to: pending.heads,
            pending: pending.revisions.into_iter().map(|revision| revision.id).collect(),
            way: if pending.unknown { Way::Untold } else { Way::Forward },
        }
    }
}
