//! A rollout as it is kept: what it means to do, how far it is, and what each step came to.
//!
//! Everything here is plain data. The engine changes it only by [`Rollout::begin`],
//! [`Rollout::finish`], [`Rollout::fail`], [`Rollout::abandon`], [`Rollout::advance`] and
//! [`Rollout::end`], so that what is durable is always a state the plan understands.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    EngineError,
    clients::Clients,
    convoy::{Member, Waits},
    hold::Preview,
    left::Left,
    part::PartOf,
    world::World,
};
use crate::{
    ident::{RolloutId, ServiceName, Slot},
    nginx::{Members, Role},
    release::Release,
    store::RolloutRow,
};

/// Version of this document in the store.
pub const DOCUMENT: u32 = 1;

/// What an operator (or the daemon itself) may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// T0 to T5: each slot gets the release in turn.
    Rolling,
    /// The other colour gets the traffic; the old one stays warm.
    Swap,
    /// The old colour of a swap, which is still warm, gets the traffic back.
    Rollback,
    /// One instance starts, and takes the role its service gives it.
    Start,
    /// One instance leaves the upstream and stops.
    Stop,
    /// One instance stops and starts, the same release.
    Restart,
    /// The old colour of a swap is no longer kept.
    Retire,
    /// The daemon begins: what is meant to run runs, and nginx knows it.
    Boot,
    /// The service is defined otherwise: each slot gets a start of the same release by that.
    Reconfigure,
    /// The service is not configured any more: nothing of it runs.
    Remove,
    /// A member that is not ready leaves the upstream.
    Relieve,
    /// A member that was relieved is ready again, and comes back.
    Restore,
    /// The other slot takes the place of an instance that hangs.
    Replace,
}

impl Kind {
    /// The daemon's own, and no slot runs another release for it.
    #[must_use]
    pub const fn is_upkeep(self) -> bool {
        matches!(self, Self::Boot | Self::Relieve | Self::Restore)
    }
}

/// One durable operation on a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// [`DOCUMENT`] when it was written.
    pub document: u32,
    /// Its id.
    pub id: RolloutId,
    /// Whose.
    pub service: ServiceName,
    /// What was asked for.
    pub kind: Kind,
    /// The slot it is about, for kinds that are about one.
    pub slot: Option<Slot>,
    /// The release it brings in.
    pub release: Option<Release>,
    /// Who asked.
    pub by: String,
    /// What it is a part of, where a deploy asked.
    #[serde(default)]
    pub part_of: Option<PartOf>,
    /// Microseconds since the epoch.
    pub begun: i64,
    /// Microseconds since the epoch, once it has ended.
    pub ended: Option<i64>,
    /// Whether requests may be lost over it.
    pub loss: Loss,
    /// What was there before: failure goes back to it.
    pub origin: Stage,
    /// Slots that served when it began.
    pub served: BTreeSet<Slot>,
    /// What it goes through, in order.
    pub stages: Vec<Stage>,
    /// Index of the present stage.
    pub at: usize,
    /// The present stage's watch, or its hold, was passed.
    pub watched: bool,
    /// Which way it goes.
    pub course: Course,
    /// `S5`: from here it goes only forward.
    pub committed: bool,
    /// Slots drained since they were last exposed to traffic.
    pub drained: BTreeSet<Slot>,
    /// Slots started by this rollout that nginx may have sent traffic to.
    pub exposed: BTreeSet<Slot>,
    /// Slots this rollout has stopped or begun to stop.
    pub stopped: BTreeSet<Slot>,
    /// Every step so far.
    pub steps: Vec<Taken>,
    /// Why it failed.
    pub failure: Option<String>,
    /// On what terms it is held, if it is.
    #[serde(default)]
    pub preview: Option<Preview>,
    /// What clients saw meanwhile.
    #[serde(default)]
    pub clients: Clients,
    /// What there was to undo when it turned back, once that was seen.
    #[serde(default)]
    pub undo: Option<Vec<Step>>,
    /// All that it was asked for together with, itself too, in order; none where it was alone.
    #[serde(default)]
    pub convoy: Vec<Member>,
    /// What it will bring about once its turn among them has come; until then it does nothing.
    #[serde(default)]
    pub waits: Option<Waits>,
    /// Grows with each change.
    pub revision: u64,
}

/// Whether a rollout, or a deploy, may lose requests (`T1`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// It may not.
    #[default]
    Never,
    /// The operator accepted that it does.
    Accepted,
}

/// A state of the service that a rollout goes through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// What is wanted of each slot, in the order in which it is brought about. Slots that are not
    /// named stay as they are.
    pub wants: Vec<(Slot, Want)>,
    /// Watch what is fresh once it is published.
    pub watch: bool,
}

/// What is wanted of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// Nothing runs, and nginx does not know it.
    Stopped,
    /// An instance runs.
    Run {
        /// Of this release.
        release: Release,
        /// Who must have started it.
        start: Start,
        /// Its role in the upstream; `None`: not a member.
        role: Option<Role>,
    },
}

/// Which start of an instance will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Only one by this rollout.
    Fresh,
    /// Any of the right release.
    Any,
    /// Whatever is there, in whatever state.
    AsIs,
}

/// Which way a rollout goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Course {
    /// To its last stage.
    Forward,
    /// To where it began.
    Back,
    /// Nowhere any more.
    Ended(Outcome),
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything it meant to do is so, by observation.
    Done,
    /// It failed, and everything is as it was before.
    Undone,
    /// It failed past its point of no return, or could not be undone.
    Stuck,
}

/// One effect. Every one may be run twice (`S1`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Start an instance of a release.
    Start {
        /// Where.
        slot: Slot,
        /// Of what.
        release: Release,
    },
    /// Wait until the instance is ready; its death is a failure.
    AwaitReady {
        /// Which.
        slot: Slot,
    },
    /// Make nginx serve these members, and prove it.
    Publish {
        /// Which, in which role.
        members: Members,
    },
    /// Watch freshly published instances.
    Watch {
        /// Which.
        slots: Vec<Slot>,
    },
    /// Wait until an operator lets it go on with an instance that clients do not see yet.
    Hold {
        /// Which.
        slot: Slot,
    },
    /// Wait until no request can be on the instance any more.
    Drain {
        /// Which.
        slot: Slot,
    },
    /// Stop the instance.
    Stop {
        /// Which.
        slot: Slot,
    },
    /// Let new processes take over from old ones in the same slot, on a held socket.
    Replace {
        /// Where.
        slot: Slot,
        /// Of what.
        release: Release,
        /// Which will do.
        start: Start,
    },
    /// Stop what stands beside the instance in the same slot.
    Dismiss {
        /// Where.
        slot: Slot,
    },
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
    /// What was observed, or what it waits for.
    pub note: Option<String>,
    /// The traffic that it waits for, or that was left at its deadline.
    #[serde(default)]
    pub left: Option<Left>,
    /// Requests that it has cut.
    #[serde(default)]
    pub cut: usize,
    /// It failed.
    pub failed: bool,
}

impl Rollout {
    /// It has not begun, or is starting an instance.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        let starts =
            |taken: &Taken| matches!(taken.step, Step::Start { .. }) && taken.took_ms.is_none();
        self.ended.is_none() && self.steps.last().is_none_or(starts)
    }

    /// It has ended.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        match self.course {
            Course::Ended(outcome) => Some(outcome),
            Course::Forward | Course::Back => None,
        }
    }

    /// It goes forward, and failure would undo it (`S5`).
    #[must_use]
    pub fn can_turn_back(&self) -> bool {
        self.course == Course::Forward && !self.committed
    }

    /// Writes down the intent of `step` in `world`, before its effect (`S1`).
    pub fn begin(&mut self, step: &Step, world: &World, now: i64) {
        match step {
            Step::Start { slot, .. } => {
                self.exposed.remove(slot);
                self.drained.remove(slot);
            }
            // Whoever else wrote the file meanwhile may have exposed any of them.
            Step::Publish { .. } => {
                let up = world.slots.iter().filter(|(_, seen)| seen.phase.is_up());
                self.exposed.extend(up.map(|(slot, _)| *slot));
                self.drained.clear();
            }
            Step::Stop { slot } => {
                self.stopped.insert(*slot);
                // Where nothing new was published, the old can be started again.
                let replaced = !self.exposed.is_empty();
                let last = self.served.is_subset(&self.stopped);
                if self.course == Course::Forward && replaced && last {
                    self.committed = true;
                }
            }
            // The socket stays: nginx sends to what is new there, and the old can be brought back.
            Step::Replace { slot, .. } => {
                self.drained.remove(slot);
                self.exposed.insert(*slot);
            }
            Step::AwaitReady { .. }
            | Step::Watch { .. }
            | Step::Hold { .. }
            | Step::Drain { .. }
            | Step::Dismiss { .. } => {}
        }
        self.steps.push(Taken {
            step: step.clone(),
            begun: now,
            took_ms: None,
            note: None,
            left: None,
            cut: 0,
            failed: false,
        });
        self.revision += 1;
    }

    /// Takes the result of the step that was begun last.
    pub fn finish(&mut self, result: Result<Option<String>, String>, took_ms: u64) {
        let Some(taken) = self.steps.last_mut() else { return };
        taken.took_ms = Some(took_ms);
        taken.failed = result.is_err();
        match (&result, &taken.step) {
            (Ok(_), Step::Drain { slot }) => {
                self.drained.insert(*slot);
            }
            (Ok(_), Step::Watch { .. } | Step::Hold { .. }) => self.watched = true,
            _ => {}
        }
        match result {
            Ok(note) => taken.note = note,
            Err(why) => {
                taken.note = why.lines().next().map(str::to_owned);
                self.fail(&why);
            }
        }
        self.revision += 1;
    }

    /// Before the point of no return failure goes back; after it, and on the way back, it ends.
    pub fn fail(&mut self, why: &str) {
        self.failure = Some(match self.failure.take() {
            Some(first) => format!("{first}\nand could not be undone: {why}"),
            None => why.to_owned(),
        });
        self.course = match self.course {
            Course::Forward if !self.committed => Course::Back,
            Course::Forward | Course::Back => Course::Ended(Outcome::Stuck),
            ended @ Course::Ended(_) => ended,
        };
        self.revision += 1;
    }

    /// Says behind why it failed what leads out.
    pub(super) fn lead_out(&mut self, told: &str) {
        if let Some(why) = self.failure.as_mut().filter(|_| !told.is_empty()) {
            why.push('\n');
            why.push_str(told);
        }
    }

    /// Ends it where it is: nothing of it can go on.
    pub fn abandon(&mut self, why: &str) {
        self.committed = true;
        self.fail(why);
    }

    /// The present stage is reached.
    pub fn advance(&mut self) {
        self.at += 1;
        self.watched = false;
        self.revision += 1;
    }

    /// It is over.
    pub fn end(&mut self, outcome: Outcome, now: i64) {
        self.course = Course::Ended(outcome);
        self.ended = Some(now);
        self.revision += 1;
    }

    /// The row of the store that keeps it.
    #[must_use]
    pub fn row(&self) -> RolloutRow {
        RolloutRow {
            id: self.id,
            service: self.service.clone(),
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
    /// When it is not a document of this version (`S4`).
    pub fn read(row: &RolloutRow) -> Result<Self, EngineError> {
        let unreadable = |why: String| EngineError::Unreadable(row.id, why);
        let read: Self =
            serde_json::from_str(&row.document).map_err(|e| unreadable(e.to_string()))?;
        match read.document {
            DOCUMENT => Ok(read),
            other => Err(unreadable(format!("it is of version {other}, not {DOCUMENT}"))),
        }
    }
}

/// Now, in microseconds since the epoch.
pub(super) fn now() -> i64 {
    Timestamp::now().as_microsecond()
}
