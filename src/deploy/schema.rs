//! The steps that are about the database: what a release needs of it, a dump before it is touched, and
//! bringing it there.

use super::{
    hands::{Hands, Tell, release},
    making::Hear,
    order::{self, Choice, Serving},
    record::{Aim, Deploy, Harm, Learnt, Off, Order, Schema, Scope, Setback, Told, Way},
    report,
};
use crate::{
    backup::{self, Reason},
    config::Tool,
    ident::ReleaseId,
    migration::{self, At, Crossing, MigrationError, Pending, python_of},
    process::Stream,
    release::{Censor, Lines},
};

/// What is said of a release that the database has left behind.
const LEFT_BEHIND: &str = "its code may not run on this schema. \
     `aibkctl rollback --db` brings the schema back first, after a dump; \
     `aibkctl backup restore` brings a dump back; `--to` names a release that knows it";

/// What is said of a release that needs more of the database.
const NOT_THERE_YET: &str = "its code may not run on this schema. \
     `aibkctl rollback --db` brings the schema forward first, after a dump";

/// What is said where nobody knows the way back.
const LOST: &str =
    "`aibkctl backup list` shows the dumps, and `aibkctl backup restore` brings one back";

impl Hands {
    /// What `deploy` needs of the database, and that in lines; `None` where it leaves it alone, or aibk
    /// knows of none.
    pub(super) async fn look_at_schema(
        &self,
        deploy: &Deploy,
        hear: Hear<'_>,
    ) -> Result<(Option<Schema>, Vec<String>), Setback> {
        let Some(migrate) = &self.app.migrate else {
            return Ok((None, report::schema(None, &[])));
        };
        let id = release(deploy)?;
        let is_command = matches!(migrate.tool, Tool::Command { .. });
        match (&deploy.aim, deploy.scope) {
            (Aim::Kept(_), Scope::Full) if is_command => {
                return Err(MigrationError::NoWayBack.to_string().into());
            }
            (Aim::Kept(_), _) if is_command => return Ok((None, report::schema(None, &[]))),
            (..) => {}
        }
        match (self.pending_of(id, hear).await, &deploy.aim, deploy.scope) {
            (Ok(pending), _, Scope::Full | Scope::MigrateOnly | Scope::Look) => {
                let warnings: Vec<_> = pending.warnings.iter().map(ToString::to_string).collect();
                for warning in &warnings {
                    hear(&format!("warning: {warning}"));
                }
                let schema = Schema::forward(pending);
                let told = report::schema(Some(&schema), &warnings);
                Ok((Some(schema), told))
            }
            (Ok(pending), Aim::Kept(_), Scope::CodeOnly) if !pending.revisions.is_empty() => {
                Err(format!("{}\n{NOT_THERE_YET}", report::lacking(&pending)).into())
            }
            (Ok(_), ..) => Ok((None, report::schema(None, &[]))),
            (
                Err(MigrationError::Unknown { at, heads }),
                Aim::Kept(_),
                Scope::Full | Scope::Look,
            ) => {
                let (schema, told) = self.way_back(deploy, at, heads, hear).await?;
                Ok((Some(schema), told))
            }
            (Err(MigrationError::Unknown { at, heads }), Aim::Kept(_), _) => {
                let low = heads.first().map_or(migration::BASE, String::as_str);
                let crossing = self.crossing(deploy, (low, &at), hear).await;
                if let Some(stays) = crossing.ok().and_then(|(_, crossing)| order::stays(&crossing))
                {
                    hear(stays);
                    return Ok((None, vec![stays.to_owned()]));
                }
                let error = MigrationError::Unknown { at, heads };
                Err(format!("{error}\n{LEFT_BEHIND}").into())
            }
            (Err(error), ..) => Err(error.to_string().into()),
        }
    }

    /// From `at`, where the database is, to where the release leads, and what goes first.
    async fn way_back(
        &self,
        deploy: &Deploy,
        at: String,
        to: Vec<String>,
        hear: Hear<'_>,
    ) -> Result<(Schema, Vec<String>), Setback> {
        let low = to.first().map_or(migration::BASE, String::as_str);
        let (newer, crossing) = self.crossing(deploy, (low, &at), hear).await?;
        let what = report::way_back(&at, &to);
        let chosen = order::choose(&crossing, deploy.serving(), deploy.loss);
        let chosen = match (chosen, deploy.scope) {
            (Err(clash), Scope::Look) => Choice { order: Order::SchemaFirst, why: clash },
            (chosen, _) => chosen.map_err(|clash| format!("{what}\n{}", clash.join("\n")))?,
        };
        let told: Vec<_> = std::iter::once(what).chain(chosen.why).collect();
        for line in &told {
            hear(line);
        }
        let (way, order, newer) = (Way::Back, chosen.order, Some(newer));
        Ok((Schema { from: vec![at], to, pending: vec![], way, order, newer }, told))
    }

    /// The release that knows the way from `low` to `high`, and what that does to code: what is
    /// current, else the newest one.
    async fn crossing(
        &self,
        deploy: &Deploy,
        (low, high): (&str, &str),
        hear: Hear<'_>,
    ) -> Result<(ReleaseId, Crossing), Setback> {
        let kept = self.shelved().await.map_err(|e| e.to_string())?;
        let kept = kept.into_iter().filter(|kept| kept.manifest.is_ok()).map(|kept| kept.id);
        let current = deploy.before.clone();
        let others =
            kept.filter(|id| Some(id) != current.as_ref() && Some(id) != deploy.release.as_ref());
        for id in current.clone().into_iter().chain(others) {
            let directory = self.workshop().places.releases.join(&id.0);
            let python = python_of(&directory);
            let at = At { directory: &directory, python: &python };
            let censor = Censor::of(&self.env_file());
            let mut ears = Ears::new(&censor);
            let mut pieces = |stream, piece: &[u8]| ears.take(stream, piece, hear);
            let way = (low, high);
            let crossing =
                migration::crossing(&self.launcher, &self.app, at, way, &mut pieces).await;
            ears.finish(hear);
            match crossing {
                Ok(Some(crossing)) => return Ok((id, crossing)),
                Ok(None) => {}
                Err(e) => hear(&format!("release {id} cannot tell of its revisions: {e}")),
            }
        }
        Err(format!("no release that is still there knows revision {high}\n{LOST}").into())
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
        let order = backup::Order { release, ..backup::Order::new(Reason::BeforeMigration { to }) };
        let tell = |progress: backup::Progress| tell(Told::Line(progress.to_string()));
        let made = backup::create(&self.launcher, &self.app, order, &tell).await;
        let made = made.map_err(|e| e.to_string())?;
        let note = format!("{}, {}", made.name, backup::size(made.size));
        Ok(Off { note: Some(note), learnt: Learnt::Dump(made.name.to_string()) })
    }

    /// By the newer release in either direction: the older one does not know the way.
    pub(super) async fn migrate(&self, deploy: &Deploy, hear: Hear<'_>) -> Result<Off, Setback> {
        let Some(schema) = &deploy.schema else { return Ok(Off::QUIET) };
        let newer = match schema.way {
            Way::Back => schema.newer.as_ref().or(deploy.before.as_ref()),
            Way::Forward | Way::Untold => deploy.release.as_ref(),
        };
        let Some(newer) = newer else {
            return Err("it is not known which release the schema is of".to_owned().into());
        };
        if schema.order == Order::CodeFirst {
            self.see_that_none_is_newer(deploy).await?;
        }
        let directory = self.workshop().places.releases.join(&newer.0);
        let python = python_of(&directory);
        let at = At { directory: &directory, python: &python };
        let (launcher, app) = (&self.launcher, &self.app);
        let low = schema.to.first().map_or(migration::BASE, String::as_str);
        let back_to = (schema.way == Way::Back).then_some(low);
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
                // Where something is left, more is said of it.
                let dump = deploy.dump.as_ref().filter(|_| harm != Harm::Left);
                let dump = dump.map(|dump| format!("\nthe dump from before: {dump}"));
                Err(Setback { why: format!("{error}{}", dump.unwrap_or_default()), harm })
            }
        }
    }
}

impl Hands {
    /// What cannot run on the older schema is gone, also from where it gets no new requests.
    async fn see_that_none_is_newer(&self, deploy: &Deploy) -> Result<(), Setback> {
        for service in &deploy.services {
            let there = self.rollouts.presence(service).await.map_err(|e| e.to_string())?;
            let other = there.all().find(|release| Some(&release.id) != deploy.release.as_ref());
            if let Some(other) = other {
                let why = format!("{service} still has release {}; nothing was migrated", other.id);
                return Err(why.into());
            }
        }
        Ok(())
    }
}

impl Deploy {
    /// What its services had when it began.
    fn serving(&self) -> Serving {
        let target = self.release.as_ref();
        let has = |service| self.origin.get(service).map(|release| &release.id) == target;
        if self.services.iter().all(has) { Serving::Older } else { Serving::Newer }
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
        MigrationError::Stopped { .. } => Harm::Unchanged,
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
            ..Self::default()
        }
    }
}
