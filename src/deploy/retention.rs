//! What goes: releases and dumps, in one decision. Pure.
//!
//! `D2`: retention never removes the live release, the one before it, or the newest dump of each
//! migration. Nor does it remove what a way back from a release that stays begins with: the dump that
//! was made for its deploy.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use crate::{
    backup::{DumpName, Manifest, retention::removable},
    config::Keep,
    ident::ReleaseId,
};

/// What there is of an application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stock {
    /// Newest first.
    pub(super) releases: Vec<Kept>,
    /// In any order.
    pub(super) dumps: Vec<Manifest>,
}

/// A release, and what decides about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) id: ReleaseId,
    /// Whether it can be read; what cannot is somebody's to look at (`S4`).
    pub(super) state: State,
    /// Somebody keeps it.
    pub(super) pinned: bool,
    /// What it is needed for.
    pub(super) need: Option<Need>,
    /// The dump that was made last for a deploy of it.
    pub(super) dump: Option<DumpName>,
}

/// Whether a release is what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Whole,
    Unreadable,
}

/// What a release is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It is current, or runs.
    Live,
    /// A rollback goes to it.
    Before,
}

/// What the operator wants to be kept.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// So many of the newest releases.
    pub(super) releases: usize,
    /// Dumps, where the application has a database.
    pub(super) dumps: Option<Keep>,
    /// Where days begin.
    pub(super) zone: TimeZone,
}

/// What goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Newest first.
    pub(super) releases: Vec<ReleaseId>,
    /// Oldest first.
    pub(super) dumps: Vec<DumpName>,
}

/// What goes of `stock`. At least the newest release stays, and the newest dump.
pub(super) fn decide(stock: &Stock, rules: &Rules) -> Gone {
    let whole = stock.releases.iter().filter(|release| release.state == State::Whole);
    let old = whole.skip(rules.releases.max(1));
    let free = old.filter(|release| !release.pinned && may_go(release).is_ok());
    let releases: Vec<ReleaseId> = free.map(|release| release.id.clone()).collect();
    let staying = stock.releases.iter().filter(|release| !releases.contains(&release.id));
    let needed: BTreeSet<&DumpName> = staying.filter_map(|release| release.dump.as_ref()).collect();
    let dumps = rules.dumps.map(|keep| removable(&stock.dumps, keep, &rules.zone));
    let dumps = dumps.unwrap_or_default().into_iter().filter(|name| !needed.contains(name));
    Gone { dumps: dumps.cloned().collect(), releases }
}

/// Whether `release` may go, if somebody wants that.
pub(super) fn may_go(release: &Kept) -> Result<(), Need> {
    release.need.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::backup::Reason;

    const NEEDS: [Option<Need>; 3] = [None, Some(Need::Live), Some(Need::Before)];

    fn release(n: u32, state: State, pinned: bool, need: Option<Need>) -> Kept {
        Kept { id: ReleaseId(format!("r{n}")), state, pinned, need, dump: None }
    }

    fn rules(releases: usize, dumps: Keep) -> Rules {
        Rules { releases, dumps: Some(dumps), zone: TimeZone::UTC }
    }

    const NONE: Keep = Keep { daily: 0, weekly: 0, monthly: 0, migrations: 1 };

    /// Why `stock.releases[at]` has to stay, if it has.
    fn stays(stock: &Stock, at: usize, keep: usize) -> bool {
        let release = &stock.releases[at];
        let whole = |release: &&Kept| release.state == State::Whole;
        let newer = stock.releases[..at].iter().filter(whole).count();
        release.state == State::Unreadable
            || release.pinned
            || release.need.is_some()
            || newer < keep.max(1)
    }

    /// Every shelf of up to four releases, with every mixture of what may be true of each.
    #[test]
    fn no_release_goes_that_is_needed_and_every_other_does() {
        for count in 0..=4_u32 {
            for mut mixture in 0..12_usize.pow(count) {
                let mut draw = |of: usize| {
                    let drawn = mixture % of;
                    mixture /= of;
                    drawn
                };
                let releases: Vec<Kept> = (0..count)
                    .map(|n| {
                        let state = [State::Whole, State::Unreadable][draw(2)];
                        release(n, state, draw(2) == 1, NEEDS[draw(3)])
                    })
                    .collect();
                let stock = Stock { releases, dumps: vec![] };
                for keep in 0..=3 {
                    let gone = decide(&stock, &rules(keep, NONE)).releases;
                    for (at, release) in stock.releases.iter().enumerate() {
                        let goes = gone.contains(&release.id);
                        assert_eq!(goes, !stays(&stock, at, keep), "{stock:?} {keep}");
                    }
                }
            }
        }
    }

    fn dump(at: i64, what: u8) -> Manifest {
        let at = Timestamp::from_second(1_700_000_000 + at).unwrap().to_string();
        let before = |from: &str, to: &str| {
            let reason = Reason::BeforeMigration { to: vec![to.to_owned()] };
            Manifest { revisions: vec![from.to_owned()], ..Manifest::sample(&at, reason) }
        };
        match what {
            0 => before("a", "b"),
            1 => before("b", "c"),
            // The same one again, and back.
            2 => before("b", "a"),
            _ => Manifest::sample(&at, Reason::Schedule),
        }
    }

    #[test]
    fn a_dump_stays_as_long_as_the_release_that_it_was_made_for() {
        let dumps: Vec<Manifest> = (0..3).map(|n| dump(n * 100, 0)).collect();
        let of = |n: usize| Some(dumps[n].name.clone());
        let with = |n: u32, dump| Kept { dump, ..release(n, State::Whole, false, None) };
        let releases = vec![with(3, None), with(2, of(1)), with(1, of(0))];
        let stock = Stock { releases, dumps: dumps.clone() };
        assert_eq!(decide(&stock, &rules(3, NONE)), Gone::default(), "each is needed");
        let gone = decide(&stock, &rules(2, NONE));
        assert_eq!((gone.releases.len(), gone.dumps), (1, vec![dumps[0].name.clone()]));
        let gone = decide(&stock, &rules(1, NONE));
        assert_eq!((gone.releases.len(), gone.dumps.len()), (2, 2), "the newest stays");
        let no_database = Rules { dumps: None, ..rules(1, NONE) };
        assert_eq!(decide(&stock, &no_database).dumps, []);
    }

    fn any_release() -> impl Strategy<Value = (bool, bool, usize, Option<usize>)> {
        (any::<bool>(), any::<bool>(), 0_usize..3, prop::option::of(0_usize..12))
    }

    proptest! {
        /// Whatever there is and whatever is asked for, `D2` holds, and what stays once stays.
        #[test]
        fn what_must_stay_stays(
            releases in prop::collection::vec(any_release(), 0..8),
            dumps in prop::collection::btree_map(0_i64..40_000_000, (0_u8..5, any::<bool>()), 0..20),
            keep in 0_usize..5,
            (daily, weekly, monthly, migrations) in (0_u32..9, 0_u32..6, 0_u32..6, 0_u32..3),
        ) {
            let dumps: Vec<Manifest> = dumps
                .into_iter()
                .map(|(at, (what, pinned))| Manifest { pinned: pinned && what == 3, ..dump(at, what) })
                .collect();
            let releases = releases.into_iter().enumerate().map(|(n, (whole, pinned, need, dump))| {
                let state = if whole { State::Whole } else { State::Unreadable };
                let dump = dump.and_then(|at| dumps.get(at)).map(|dump| dump.name.clone());
                Kept { dump, ..release(u32::try_from(n).unwrap(), state, pinned, NEEDS[need]) }
            });
            let stock = Stock { releases: releases.collect(), dumps };
            let rules = rules(keep, Keep { daily, weekly, monthly, migrations });
            let gone = decide(&stock, &rules);
            for (at, release) in stock.releases.iter().enumerate() {
                let goes = gone.releases.contains(&release.id);
                prop_assert_eq!(goes, !stays(&stock, at, keep));
                if let Some(dump) = release.dump.as_ref().filter(|_| !goes) {
                    prop_assert!(!gone.dumps.contains(dump), "{} needs {}", release.id, dump);
                }
            }
            for (at, dump) in stock.dumps.iter().enumerate() {
                let later = &stock.dumps[at + 1..];
                let newest_of_its_kind = dump.migration().is_some()
                    && later.iter().all(|other| other.migration() != dump.migration());
                if later.is_empty() || newest_of_its_kind || dump.pinned {
                    prop_assert!(!gone.dumps.contains(&dump.name), "{} must stay", dump.name);
                }
            }
            let left = Stock {
                releases: stock.releases.into_iter().filter(|it| !gone.releases.contains(&it.id)).collect(),
                dumps: stock.dumps.into_iter().filter(|it| !gone.dumps.contains(&it.name)).collect(),
            };
            prop_assert_eq!(decide(&left, &rules), Gone::default());
        }
    }
}
