//! Rollouts of several services that were asked for together: each is a rollout of its own, all hold
//! their services from the beginning, and they go one after another. Pure.

use serde::{Deserialize, Serialize};

use super::{
    clients::Clients,
    draft::{Draft, Request},
    record::{Course, Loss, Outcome, Rollout},
};
use crate::{
    ident::{RolloutId, ServiceName, Slot},
    release::Release,
};

/// One of several that were asked for together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Whose rollout.
    pub service: ServiceName,
    /// Which.
    pub id: RolloutId,
}

/// What a rollout will bring about once its turn has come. What it goes through is decided then, upon
/// what is seen then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// The release that was named.
    pub named: Option<Release>,
    /// What the configured directory was when all of them were asked for.
    pub current: Release,
    /// Whether requests may be lost over it.
    pub loss: Loss,
    /// The slot that left the upstream meanwhile, because it was not well, and is not back.
    #[serde(default)]
    pub relieved: Option<Slot>,
}

/// Whether the turn of a rollout has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It has.
    Now,
    /// Another one goes first.
    NotYet,
    /// It will not come, for this reason.
    Never(String),
}

/// Whether it is the turn of whoever comes after `before`.
#[must_use]
pub fn turn(before: &Rollout) -> Turn {
    let service = &before.service;
    match before.outcome() {
        None => Turn::NotYet,
        Some(Outcome::Done) => Turn::Now,
        Some(Outcome::Undone | Outcome::Stuck) => Turn::Never(match &before.failure {
            Some(why) if before.was_forgone() => why.clone(),
            _ => format!("{service} comes before it, and failed"),
        }),
    }
}

impl Waits {
    /// Of a member that is asked for `request`.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let Request { named, current, loss, .. } = request.clone();
        Self { named, current, loss, relieved: None }
    }
}

impl Rollout {
    /// Who goes before it, where it was asked for together with others.
    #[must_use]
    pub fn before(&self) -> Option<&Member> {
        let at = self.convoy.iter().position(|member| member.id == self.id)?;
        self.convoy.get(at.checked_sub(1)?)
    }

    /// What is asked of its service, while its turn has not come.
    #[must_use]
    pub fn request(&self) -> Option<Request> {
        let Waits { named, current, loss, .. } = self.waits.clone()?;
        let slot = self.slot;
        Some(Request { slot, named, loss, ..Request::of(self.kind, current) })
    }

    /// Its turn has come, and this is what it goes through.
    pub fn set_out(&mut self, draft: Draft, clients: Clients, now: i64) {
        let Draft { release, loss, origin, served, stages, preview } = draft;
        (self.release, self.loss, self.origin) = (release, loss, origin);
        (self.served, self.stages, self.clients) = (served, stages, clients);
        self.preview = preview;
        (self.waits, self.begun) = (None, now);
        self.revision += 1;
    }

    /// Ends one whose turn has not come, and will not.
    pub fn forgo(&mut self, why: &str) {
        self.failure = Some(why.to_owned());
        self.course = Course::Ended(Outcome::Undone);
        self.revision += 1;
    }

    /// It has ended, and its turn had not come.
    #[must_use]
    pub const fn was_forgone(&self) -> bool {
        self.waits.is_some() && self.outcome().is_some()
    }

    /// It does nothing, or has not, to its service.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.waits.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{
        draft::draft,
        plan_tests::{at_rest, begin, begun, release, request, service},
        record::{Kind, Stage},
    };

    fn name(of: &str) -> ServiceName {
        ServiceName::new(of).unwrap()
    }

    /// Three of them, none of which has set out.
    fn convoy() -> Vec<Rollout> {
        let services = ["api", "admin", "worker"].map(name);
        let ids = [7, 8, 9].map(RolloutId);
        let member = |(service, id): (&ServiceName, &RolloutId)| Member {
            service: service.clone(),
            id: *id,
        };
        let convoy: Vec<Member> = services.iter().zip(&ids).map(member).collect();
        let asked = request(Kind::Rolling, None, Loss::Never);
        let nothing = Draft {
            release: None,
            loss: Loss::Never,
            origin: Stage::default(),
            served: [].into(),
            stages: vec![],
            preview: None,
        };
        let one = |(service, id): (ServiceName, RolloutId)| Rollout {
            service,
            convoy: convoy.clone(),
            waits: Some(Waits::of(&asked)),
            ..begun(id, Kind::Rolling, None, nothing.clone())
        };
        services.into_iter().zip(ids).map(one).collect()
    }

    /// Each looks at the one before it alone, and so all behind the first that fails are not begun,
    /// for the same reason.
    #[test]
    fn each_goes_after_the_one_before_it_and_none_after_one_that_failed() {
        let mut all = convoy();
        assert_eq!(all[0].before(), None, "the first one waits for nobody");
        assert_eq!(all[2].before().map(|before| before.id), Some(RolloutId(8)));
        assert_eq!(turn(&all[0]), Turn::NotYet);
        for (outcome, next) in [
            (Outcome::Done, Turn::Now),
            (Outcome::Undone, Turn::Never("api comes before it, and failed".to_owned())),
            (Outcome::Stuck, Turn::Never("api comes before it, and failed".to_owned())),
        ] {
            let mut api = Rollout { waits: None, ..all[0].clone() };
            api.end(outcome, 1);
            assert_eq!(turn(&api), next, "{outcome:?}");
        }
        all[1].forgo("api comes before it, and failed");
        assert!(all[1].was_forgone() && all[1].outcome() == Some(Outcome::Undone));
        assert_eq!(turn(&all[1]), Turn::Never("api comes before it, and failed".to_owned()));
        let alone = begin(Kind::Rolling, None, drafted(&request(Kind::Rolling, None, Loss::Never)));
        assert_eq!((alone.before(), alone.is_idle()), (None, false));
    }

    fn drafted(asked: &Request) -> Draft {
        draft(asked, &service("[8000, 8001]", "stopped"), &at_rest()).unwrap()
    }

    /// What was asked for is kept until its turn, and what it goes through is decided then.
    #[test]
    fn one_sets_out_with_what_was_asked_for_at_the_beginning() {
        let mut rollout = convoy().remove(1);
        let read = Rollout::read(&rollout.row()).unwrap();
        assert_eq!(read, rollout, "the next daemon knows it, too");
        let asked = rollout.request().unwrap();
        assert_eq!((asked.kind, asked.current.clone()), (Kind::Rolling, release("v2")));
        rollout.set_out(drafted(&asked), Clients::Unasked, 5);
        assert_eq!((rollout.request(), rollout.begun, rollout.at), (None, 5, 0));
        assert_eq!((rollout.stages.len(), rollout.release), (3, Some(release("v2"))));
    }
}
