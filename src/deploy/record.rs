//! A deploy as it is kept: what it means to bring into service, how far it is, and what each step came
//! to. Plain data.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::words;
use crate::{
    ident::{AppName, ReleaseId, RolloutId, ServiceName},
    release::{Release, Source, Upload, Wanted},
    store::DeployRow,
};

pub use crate::rollout::record::{Course, Loss, Outcome};

/// Version of this document in the store.
pub const DOCUMENT: u32 = 1;

/// One durable operation on an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// [`DOCUMENT`] when it was written.
    pub document: u32,
    /// Its id, of the same row as those of rollouts.
    pub id: RolloutId,
    /// Of what.
    pub app: AppName,
    /// What it is to bring about.
    pub aim: Aim,
    /// How far it goes.
    pub scope: Scope,
    /// Whether requests may fail over it.
    #[serde(default)]
    pub loss: Loss,
    /// Who asked.
    pub by: String,
    /// Microseconds since the epoch.
    pub begun: i64,
    /// Microseconds since the epoch, once it has ended.
    pub ended: Option<i64>,
    /// What was fetched.
    pub source: Option<Source>,
    /// The release that it brings in, once that has a name.
    pub release: Option<ReleaseId>,
    /// The services that get it, in order.
    pub services: Vec<ServiceName>,
    /// What served of each of them when it began; one that nothing served of is not named.
    pub origin: BTreeMap<ServiceName, Release>,
    /// What the application's `current` was when it began.
    pub before: Option<ReleaseId>,
    /// What has to be done to the database, once that was looked at.
    pub schema: Option<Schema>,
    /// What the release changes, in lines for people, once that was looked at.
    #[serde(default)]
    pub report: Vec<String>,
    /// The dump that was made of the database before it was touched.
    pub dump: Option<String>,
    /// Those steps that came to their end.
    pub passed: BTreeSet<Step>,
    /// The rollouts of its services, of both ways.
    pub rollouts: Vec<RolloutId>,
    /// Which way it goes.
    pub course: Course,
    /// Every step so far.
    pub steps: Vec<Taken>,
    /// Why it failed.
    pub failure: Option<String>,
    /// Grows with each change.
    pub revision: u64,
}

/// What a deploy is to bring into service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aim {
    /// Code that is not a release yet.
    New(Wanted),
    /// A release that is there.
    Kept(ReleaseId),
}

/// How far a deploy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The database, then the services.
    Full,
    /// The services alone.
    CodeOnly,
    /// The database alone.
    MigrateOnly,
    /// A release is made and looked at, and nothing is done with it.
    Look,
}

impl Scope {
    /// Its release comes into the services.
    #[must_use]
    pub const fn reaches_services(self) -> bool {
        matches!(self, Self::Full | Self::CodeOnly)
    }
}

/// What a release needs of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Where the database is.
    pub from: Vec<String>,
    /// Where the release wants it to be.
    pub to: Vec<String>,
    /// The revisions in between, in order.
    pub pending: Vec<String>,
    /// How it gets there.
    pub way: Way,
    /// Whether the services or the database go first.
    #[serde(default)]
    pub order: Order,
    /// On a way back, the release that knows the way.
    #[serde(default)]
    pub newer: Option<ReleaseId>,
}

/// What goes first, so that no code meets a schema that it cannot run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The database, then the services.
    #[default]
    SchemaFirst,
    /// The services, then the database.
    CodeFirst,
}

/// How a database gets to where a release wants it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// By the revisions that are pending, if any.
    #[default]
    Forward,
    /// Nobody can tell what is pending, so that it is tried.
    Untold,
    /// It is beyond the release, and goes back.
    Back,
}

/// One effect. Every one may be run twice (`S1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Get the code from where it comes from.
    Fetch,
    /// Make a release of it.
    Build,
    /// Look whether all that comes after can be.
    Check,
    /// Save the database.
    Backup,
    /// Bring the database to where the release wants it.
    Migrate,
    /// Bring the release into each service, one after another.
    RollOut,
    /// Bring what was before back into those services that have the release.
    RollBack,
    /// Make the release the one that whatever starts from now on gets.
    Settle,
    /// Remove what is kept no more.
    Prune,
}

/// A step that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// What.
    pub step: Step,
    /// Microseconds since the epoch.
    pub begun: i64,
    /// Milliseconds it took; `None` while it is under way, or when its daemon died under it.
    pub took_ms: Option<u64>,
    /// What was observed, or the last that was heard of it.
    pub note: Option<String>,
    /// It failed.
    pub failed: bool,
}

/// What a step that came off leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Off {
    /// What was observed, for people.
    pub note: Option<String>,
    /// What is known now.
    pub learnt: Learnt,
}

/// What a step that failed leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// Why it failed.
    pub why: String,
    /// Whether what it did before stays.
    pub harm: Harm,
}

impl Off {
    /// Nothing worth a word.
    pub const QUIET: Self = Self { note: None, learnt: Learnt::Nothing };

    /// With `note`, and nothing else.
    #[must_use]
    pub fn saying(note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), learnt: Learnt::Nothing }
    }
}

impl From<String> for Setback {
    fn from(why: String) -> Self {
        Self { why, harm: Harm::None }
    }
}

/// What a deploy knows once a step has come off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learnt {
    /// Nothing new.
    Nothing,
    /// What was fetched, and what the release of it is called.
    Source(Source, ReleaseId),
    /// What the release needs of the database, `None` where that is left alone, and what it changes.
    Checked(Option<Schema>, Vec<String>),
    /// The dump that was made.
    Dump(String),
}

/// What is heard of a step that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A line of its output.
    Line(String),
    /// The rollouts that it consists of.
    Rollouts(Vec<RolloutId>),
}

impl Deploy {
    /// It has ended.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        match self.course {
            Course::Ended(outcome) => Some(outcome),
            Course::Forward | Course::Back => None,
        }
    }

    /// The archive that was sent for it.
    #[must_use]
    pub const fn upload(&self) -> Option<&Upload> {
        match &self.aim {
            Aim::New(wanted) => wanted.upload(),
            Aim::Kept(_) => None,
        }
    }

    /// The step under way.
    #[must_use]
    pub fn under_way(&self) -> Option<&Taken> {
        self.steps.last().filter(|taken| taken.took_ms.is_none() && !taken.failed)
    }

    /// It goes forward, and what serves can still be what served before (`S5`): not once all services
    /// have the release, and not while the database is touched.
    #[must_use]
    pub fn can_turn_back(&self) -> bool {
        let at = self.steps.last().map(|taken| taken.step);
        self.course == Course::Forward
            && !matches!(at, Some(Step::Migrate | Step::Settle | Step::Prune))
    }

    /// Writes down the intent of `step`, before its effect (`S1`).
    pub fn begin(&mut self, step: Step, now: i64) {
        self.steps.push(Taken { step, begun: now, took_ms: None, note: None, failed: false });
        self.revision += 1;
    }

    /// Takes the result of the step that was begun last.
    pub fn finish(&mut self, came: Result<Off, Setback>, took_ms: u64) {
        let Some(taken) = self.steps.last_mut() else { return };
        taken.took_ms = Some(took_ms);
        let step = taken.step;
        self.revision += 1;
        match came {
            Ok(Off { note, learnt }) => {
                taken.note = note;
                self.passed.insert(step);
                self.learn(learnt);
            }
            Err(Setback { why, harm }) => self.fail(&why, harm),
        }
    }

    fn learn(&mut self, learnt: Learnt) {
        match learnt {
            Learnt::Nothing => {}
            Learnt::Source(source, release) => {
                (self.source, self.release) = (Some(source), Some(release));
            }
            Learnt::Checked(schema, report) => (self.schema, self.report) = (schema, report),
            Learnt::Dump(dump) => self.dump = Some(dump),
        }
    }

    /// Takes what is heard of the step under way; whether it is news.
    pub fn hear(&mut self, told: Told) -> bool {
        let news = match told {
            Told::Line(line) => match self.steps.last_mut() {
                Some(taken) if taken.note.as_ref() != Some(&line) => {
                    taken.note = Some(line);
                    true
                }
                _ => false,
            },
            Told::Rollouts(ids) => {
                let new: Vec<_> =
                    ids.into_iter().filter(|id| !self.rollouts.contains(id)).collect();
                self.rollouts.extend(&new);
                !new.is_empty()
            }
        };
        self.revision += u64::from(news);
        news
    }

    /// Ends it where it is, or turns it back: what is in service already does not stay there alone.
    pub fn fail(&mut self, why: &str, harm: Harm) {
        let harm = match harm {
            Harm::None if self.may_have_migrated() => Harm::Left,
            harm => harm,
        };
        let taken = self.steps.last_mut();
        let step = taken.as_ref().map(|taken| taken.step);
        if let Some(taken) = taken {
            taken.failed = true;
            taken.note = why.lines().next().map(str::to_owned);
        }
        self.failure = Some(match self.failure.take() {
            Some(first) => format!("{first}\nand could not be undone: {why}"),
            None => format!("{why}{}", words::aftermath(self, harm)),
        });
        let rolled_out = self.passed.contains(&Step::RollOut);
        self.course = match (self.course, step, harm) {
            (ended @ Course::Ended(_), ..) => ended,
            (Course::Forward, Some(Step::RollOut), _) => Course::Back,
            // The database is as it was, and what served before runs on it.
            (Course::Forward, Some(Step::Backup | Step::Migrate), Harm::None | Harm::Unchanged)
                if rolled_out =>
            {
                Course::Back
            }
            // The release serves everywhere; what is kept no more can be removed another time.
            (Course::Forward, Some(Step::Prune), _) => Course::Forward,
            (Course::Forward, Some(Step::Settle), _)
            | (Course::Forward, _, Harm::Left)
            | (Course::Back, ..) => Course::Ended(Outcome::Stuck),
            (Course::Forward, _, Harm::None | Harm::Unchanged) => Course::Ended(Outcome::Undone),
        };
        if step == Some(Step::Prune) {
            self.passed.insert(Step::Prune);
        }
        self.revision += 1;
    }

    /// A daemon died under the migration, so that nobody heard what came of it.
    pub(super) fn may_have_migrated(&self) -> bool {
        let unheard =
            |taken: &Taken| taken.step == Step::Migrate && taken.took_ms.is_none() && !taken.failed;
        !self.passed.contains(&Step::Migrate) && self.steps.iter().any(unheard)
    }

    /// It is over.
    pub fn end(&mut self, outcome: Outcome, now: i64) {
        self.course = Course::Ended(outcome);
        self.ended = Some(now);
        self.revision += 1;
    }

    /// The row of the store that keeps it.
    #[must_use]
    pub fn row(&self) -> DeployRow {
        DeployRow {
            id: self.id,
            app: self.app.clone(),
            document: self.written(),
            ended: self.outcome().is_some(),
        }
    }

    /// Its document. It is maps with text keys, lists, text and numbers, so it always has one.
    #[must_use]
    pub fn written(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What `row` keeps.
    ///
    /// # Errors
    /// Why it is not a document of this version (`S4`).
    pub fn read(row: &DeployRow) -> Result<Self, String> {
        let read: Self = serde_json::from_str(&row.document).map_err(|e| e.to_string())?;
        match read.document {
            DOCUMENT => Ok(read),
            other => Err(format!("it is of version {other}, not {DOCUMENT}")),
        }
    }
}

/// Whether what a step did before it failed stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It changed nothing.
    None,
    /// It was seen that all is as it was when the deploy began.
    Unchanged,
    /// Something is changed.
    Left,
}
