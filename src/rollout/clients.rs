//! What clients saw of a rollout, counted at its end from nginx's own log.
//!
//! Only where it begins in the log is kept meanwhile, so that a daemon that dies counts nothing
//! twice and forgets nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    effects::Crew,
    record::{Kind, Rollout, Step},
    world::{Proof, World},
};
use crate::{
    ident::Port,
    nginx::{Count, Logged, Mark, Side, Tally, Uncounted, Whose},
};

/// How long before a rollout its requests are compared with.
const BEFORE: Duration = Duration::from_secs(60);

/// What is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clients {
    /// Nothing: no client reaches the service through nginx, or nobody counted at the time.
    #[default]
    Unasked,
    /// It will be counted from here on.
    Since(Mark),
    /// This.
    Counted(Seen),
    /// Nothing, for this reason.
    Uncounted(String),
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// In the minute before it.
    pub before: Count,
    /// Until its last publish was proved; until its end, if it published nothing.
    pub during: Count,
    /// From then until its end.
    pub after: Count,
}

impl Crew {
    /// Notes where a rollout begins in nginx's log. That it cannot be counted stops no rollout.
    pub(super) async fn begin_counting(&self, kind: Kind, world: &World) -> Clients {
        let Some(nginx) = self.nginx.as_ref().filter(|_| world.members.is_some()) else {
            return Clients::Unasked;
        };
        match world.proof {
            // What a boot finds is no measure of it.
            _ if kind == Kind::Boot => Clients::Unasked,
            Proof::Down => Clients::Uncounted("nginx did not run when it began".to_owned()),
            Proof::Open => Clients::Uncounted(Uncounted::NotYet.to_string()),
            Proof::Agreed => match nginx.mark_requests().await {
                Ok(mark) => Clients::Since(mark),
                Err(why) => Clients::Uncounted(why.to_string()),
            },
        }
    }

    /// What clients saw of `rollout`, which ends now.
    pub(super) async fn counted(&self, rollout: &Rollout) -> Clients {
        let (Clients::Since(mark), Some(nginx)) = (&rollout.clients, &self.nginx) else {
            return rollout.clients.clone();
        };
        let Some(whose) = nginx.whose(&self.service.name) else {
            return Clients::Uncounted("it is behind nginx no more".to_owned());
        };
        let ports = self.instances.keys().filter_map(|slot| slot.port()).collect();
        let books = Books::new(whose, ports, published(rollout));
        match nginx.requests_since(*mark, Some(from_ms(rollout)), books, Books::add).await {
            Ok((books, _)) => Clients::Counted(books.seen()),
            Err(why) => Clients::Uncounted(why.to_string()),
        }
    }
}

/// Microseconds since the epoch as milliseconds.
pub(super) fn millis(micros: i64) -> u64 {
    u64::try_from(micros / 1000).unwrap_or(0)
}

/// From when on `rollout` takes requests into account, in milliseconds since the epoch.
pub(super) fn from_ms(rollout: &Rollout) -> u64 {
    millis(rollout.begun).saturating_sub(u64::try_from(BEFORE.as_millis()).unwrap_or(u64::MAX))
}

/// When its last publish was proved, in milliseconds since the epoch.
fn published(rollout: &Rollout) -> Option<u64> {
    let done = |taken: &&super::record::Taken| {
        matches!(taken.step, Step::Publish { .. }) && taken.took_ms.is_some()
    };
    let last = rollout.steps.iter().rev().find(done)?;
    Some(millis(last.begun).saturating_add(last.took_ms?))
}

/// Parts of the time, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Before,
    During,
    After,
}

/// What is being counted.
struct Books {
    whose: Whose,
    slots: Vec<Port>,
    published: Option<u64>,
    part: Part,
    before: Tally,
    during: Tally,
    after: Tally,
}

impl Books {
    fn new(whose: Whose, slots: Vec<Port>, published: Option<u64>) -> Self {
        let (before, during, after) = Default::default();
        Self { whose, slots, published, part: Part::Before, before, during, after }
    }

    fn add(&mut self, side: Side, logged: &Logged<'_>) {
        let Some(asked) = self.whose.asked(logged, &self.slots) else { return };
        let part = match (side, self.published) {
            (Side::Before, _) => Part::Before,
            (Side::Since, Some(published)) if logged.at_ms > published => Part::After,
            (Side::Since, _) => Part::During,
        };
        // Lines are in order but for those of different workers.
        self.turn_to(part.max(self.part));
        let tally = match self.part {
            Part::Before => &mut self.before,
            Part::During => &mut self.during,
            Part::After => &mut self.after,
        };
        tally.add(logged, asked.len());
    }

    fn turn_to(&mut self, part: Part) {
        if self.part == Part::Before && part > Part::Before {
            self.during = Tally::after(&self.before);
        }
        if self.part < Part::After && part == Part::After {
            self.after = Tally::after(&self.during);
        }
        self.part = part;
    }

    fn seen(&self) -> Seen {
        Seen { before: self.before.count(), during: self.during.count(), after: self.after.count() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nginx::Try;

    fn books(published: Option<u64>) -> Books {
        let slots = [8000, 8001].map(|port| Port::new(port).unwrap());
        let whose = Whose::at("api_backend".parse().unwrap(), [127, 0, 0, 1].into());
        Books::new(whose, slots.to_vec(), published)
    }

    fn add(books: &mut Books, side: Side, at_ms: u64, to: &[&str]) {
        let one = |to| Try { to, status: Some(200), took_ms: Some(1) };
        let tries = to.iter().map(|to| one(*to)).collect();
        books.add(side, &Logged { at_ms, status: 200, took_ms: 5, whole: true, tries });
    }

    #[test]
    fn each_request_belongs_to_one_part_of_the_time() {
        let mut books = books(Some(2_000));
        let blue = ["127.0.0.1:8000"];
        add(&mut books, Side::Before, 900, &blue);
        add(&mut books, Side::Since, 1_000, &blue);
        add(&mut books, Side::Since, 1_500, &["127.0.0.1:8000", "127.0.0.1:8001"]);
        add(&mut books, Side::Since, 1_600, &["127.0.0.1:9000"]);
        add(&mut books, Side::Since, 2_300, &["127.0.0.1:8001"]);
        // A late line of another worker.
        add(&mut books, Side::Since, 1_999, &["127.0.0.1:8001"]);
        let Seen { before, during, after } = books.seen();
        assert_eq!([before.requests, during.requests, after.requests], [1, 2, 2]);
        assert_eq!((before.retried, during.retried, after.retried), (0, 1, 0));
        assert_eq!((during.longest_gap_ms, after.longest_gap_ms), (500, 800));
    }

    #[test]
    fn without_a_publish_all_of_it_is_during() {
        let mut books = books(None);
        add(&mut books, Side::Since, 1_000, &["127.0.0.1:8000"]);
        assert_eq!((books.seen().during.requests, books.seen().after.requests), (1, 0));
    }

    #[test]
    fn a_clock_that_was_set_back_loses_no_request() {
        let mut books = books(Some(5_000));
        add(&mut books, Side::Since, 6_000, &["127.0.0.1:8000"]);
        add(&mut books, Side::Since, 10, &["127.0.0.1:8000"]);
        assert_eq!(books.seen().after.requests, 2);
    }
}
