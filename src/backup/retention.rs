//! Which dumps stay. Pure: no clock is read, for what is kept is counted in dumps, not in time that
//! passes; a host that was off for a month keeps what it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hash,
};

use jiff::{civil::Date, tz::TimeZone};

use super::{DumpName, Manifest};
use crate::config::Keep;

/// The dumps of one application that retention lets go, oldest first.
///
/// The newest of all, the newest before each migration (`D2`), and what is pinned always stay. Days
/// begin in `zone`.
#[must_use]
pub fn removable<'m>(dumps: &'m [Manifest], keep: Keep, zone: &TimeZone) -> Vec<&'m DumpName> {
    let mut newest_first: Vec<&Manifest> = dumps.iter().collect();
    newest_first.sort_by(|a, b| b.name.cmp(&a.name));
    let mut kept: BTreeSet<&DumpName> = BTreeSet::new();
    kept.extend(newest_first.first().map(|newest| &newest.name));
    kept.extend(newest_first.iter().filter(|dump| dump.pinned).map(|dump| &dump.name));
    kept.extend(before_migrations(&newest_first, keep.migrations));
    let day = |dump: &Manifest| zone.to_datetime(dump.name.at).date();
    kept.extend(newest_of_each(&newest_first, keep.daily, day));
    kept.extend(newest_of_each(&newest_first, keep.weekly, |dump| week(day(dump))));
    kept.extend(newest_of_each(&newest_first, keep.monthly, |dump| day(dump).first_of_month()));
    let all = newest_first.iter().rev().map(|dump| &dump.name);
    all.filter(|name| !kept.contains(name)).collect()
}

/// The week of `day`, by the year it belongs to.
fn week(day: Date) -> (i16, i8) {
    let week = day.iso_week_date();
    (week.year(), week.week())
}

/// The newest of each of the last `n` periods that have any.
fn newest_of_each<'m, P: PartialEq + Hash>(
    newest_first: &[&'m Manifest],
    n: u32,
    period: impl Fn(&Manifest) -> P,
) -> Vec<&'m DumpName> {
    let mut found: Vec<(P, &DumpName)> = Vec::new();
    for dump in newest_first {
        let of = period(dump);
        if found.last().is_none_or(|(last, _)| *last != of) {
            found.push((of, &dump.name));
        }
    }
    found.into_iter().take(usize::try_from(n).unwrap_or(usize::MAX)).map(|(_, name)| name).collect()
}

/// The newest `n` before each migration, and at least one.
fn before_migrations<'m>(newest_first: &[&'m Manifest], n: u32) -> Vec<&'m DumpName> {
    let mut seen: BTreeMap<(&[String], &[String]), u32> = BTreeMap::new();
    let mut stays = |dump: &&&'m Manifest| {
        dump.migration().is_some_and(|migration| {
            let count = seen.entry(migration).or_default();
            *count += 1;
            *count <= n.max(1)
        })
    };
    newest_first.iter().filter(|dump| stays(dump)).map(|dump| &dump.name).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::Reason;

    const NONE: Keep = Keep { daily: 0, weekly: 0, monthly: 0, migrations: 1 };

    fn scheduled(at: &str) -> Manifest {
        Manifest::sample(at, Reason::Schedule)
    }

    fn before(at: &str, from: &str, to: &str) -> Manifest {
        let reason = Reason::BeforeMigration { to: vec![to.to_owned()] };
        Manifest { revisions: vec![from.to_owned()], ..Manifest::sample(at, reason) }
    }

    /// The times of those that stay.
    fn kept(dumps: &[Manifest], keep: Keep) -> Vec<String> {
        let gone = removable(dumps, keep, &TimeZone::UTC);
        let mut stay: Vec<String> = dumps
            .iter()
            .filter(|dump| !gone.contains(&&dump.name))
            .map(|dump| dump.name.at.strftime("%m-%dT%H").to_string())
            .collect();
        stay.sort();
        stay
    }

    #[test]
    fn the_newest_of_each_day_week_and_month_stays() {
        let dumps: Vec<Manifest> = [
            "2026-01-31T03:00:00Z",
            "2026-02-15T03:00:00Z",
            "2026-02-22T03:00:00Z",
            "2026-02-27T03:00:00Z",
            "2026-02-28T03:00:00Z",
            "2026-02-28T15:00:00Z",
            "2026-03-01T03:00:00Z",
            "2026-03-02T03:00:00Z",
        ]
        .map(scheduled)
        .to_vec();
        assert_eq!(kept(&dumps, Keep { daily: 3, ..NONE }), ["02-28T15", "03-01T03", "03-02T03"]);
        // The weeks of 2 March, 23 and 16 February.
        assert_eq!(kept(&dumps, Keep { weekly: 3, ..NONE }), ["02-22T03", "03-01T03", "03-02T03"]);
        assert_eq!(kept(&dumps, Keep { monthly: 3, ..NONE }), ["01-31T03", "02-28T15", "03-02T03"]);
        assert_eq!(kept(&dumps, NONE), ["03-02T03"], "the newest of all");
        assert_eq!(kept(&dumps, Keep { daily: 99, ..NONE }).len(), 7, "one of each day there is");
        assert_eq!(kept(&[], NONE), [""; 0]);
    }

    #[test]
    fn days_begin_where_the_host_is() {
        let dumps = ["2026-03-01T15:30:00Z", "2026-03-01T16:30:00Z"].map(scheduled);
        let keep = Keep { daily: 2, ..NONE };
        let shanghai = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(removable(&dumps, keep, &TimeZone::UTC).len(), 1);
        assert_eq!(removable(&dumps, keep, &shanghai).len(), 0, "midnight lies between the two");
    }

    #[test]
    fn the_newest_before_each_migration_always_stays() {
        let dumps = [
            before("2026-01-01T01:00:00Z", "a", "b"),
            before("2026-01-01T02:00:00Z", "a", "b"),
            before("2026-01-02T01:00:00Z", "b", "c"),
            before("2026-01-03T01:00:00Z", "b", "a"),
            scheduled("2026-03-02T03:00:00Z"),
        ];
        assert_eq!(kept(&dumps, NONE), ["01-01T02", "01-02T01", "01-03T01", "03-02T03"]);
        assert_eq!(kept(&dumps, Keep { migrations: 0, ..NONE }).len(), 4, "whatever is asked for");
        assert_eq!(kept(&dumps, Keep { migrations: 2, ..NONE }).len(), 5);
    }

    #[test]
    fn what_is_pinned_stays() {
        let old = Manifest { pinned: true, ..scheduled("2020-01-01T00:00:00Z") };
        assert_eq!(kept(&[old, scheduled("2026-01-01T00:00:00Z")], NONE), ["01-01T00", "01-01T00"]);
    }

    proptest! {
        /// Whatever there is and whatever is asked for: never the newest, never the newest before a
        /// migration, never what is pinned; and what stays after one pass stays after the next.
        #[test]
        fn what_must_stay_stays(
            dumps in prop::collection::btree_map(0_i64..40_000_000, (0_u8..4, any::<bool>()), 0..40),
            (daily, weekly, monthly, migrations) in (0_u32..9, 0_u32..6, 0_u32..6, 0_u32..3),
        ) {
            let keep = Keep { daily, weekly, monthly, migrations };
            let dumps: Vec<Manifest> = dumps.into_iter().map(|(at, (what, pinned))| {
                let at = jiff::Timestamp::from_second(1_700_000_000 + at).unwrap().to_string();
                let dump = match what {
                    0 => before(&at, "a", "b"),
                    1 => before(&at, "b", "c"),
                    _ => scheduled(&at),
                };
                Manifest { pinned: pinned && what == 3, ..dump }
            }).collect();
            let gone: Vec<DumpName> = removable(&dumps, keep, &TimeZone::UTC).into_iter().cloned().collect();
            for (i, dump) in dumps.iter().enumerate() {
                let later = dumps.get(i + 1..).unwrap_or_default();
                let newest_of_its_kind = dump.migration().is_some()
                    && later.iter().all(|other| other.migration() != dump.migration());
                if later.is_empty() || newest_of_its_kind || dump.pinned {
                    prop_assert!(!gone.contains(&dump.name), "{} must stay", dump.name);
                }
            }
            let left: Vec<Manifest> =
                dumps.into_iter().filter(|dump| !gone.contains(&dump.name)).collect();
            prop_assert!(removable(&left, keep, &TimeZone::UTC).is_empty());
        }
    }
}
