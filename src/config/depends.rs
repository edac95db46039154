//! `after` and `requires` of a service: what it waits for. The services and these make a graph, in
//! which every name is known and which has no cycle.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    mistake::{Position, Wrong},
    scalar,
    section::Section,
};
use crate::ident::ServiceName;

/// What a service waits for when everything starts; when everything stops, those wait for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Depends {
    /// It starts when these have started or have failed to, or are not meant to run.
    pub after: BTreeSet<ServiceName>,
    /// It starts when these are ready, and not at all while they are not.
    pub requires: BTreeSet<ServiceName>,
}

impl Depends {
    /// It waits for nobody.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.after.is_empty() && self.requires.is_empty()
    }

    /// Everybody it waits for.
    pub fn all(&self) -> impl Iterator<Item = &ServiceName> {
        self.after.union(&self.requires)
    }
}

/// One name under `after` or `requires`.
#[derive(Debug, Clone)]
struct Wish {
    owner: ServiceName,
    key: &'static str,
    at: Position,
    on: ServiceName,
}

/// Every wish of the file, in its order, to be judged when every service is known.
#[derive(Debug, Default)]
pub(super) struct Wishes(RefCell<Vec<Wish>>);

impl Wishes {
    /// Reads `after` and `requires` of the service `owner`.
    pub(super) fn read(&self, s: &mut Section<'_>, owner: Option<&ServiceName>) -> Depends {
        Depends { after: self.list(s, "after", owner), requires: self.list(s, "requires", owner) }
    }

    fn list(
        &self,
        s: &mut Section<'_>,
        key: &'static str,
        owner: Option<&ServiceName>,
    ) -> BTreeSet<ServiceName> {
        let names = s.list(key, scalar::service_name).unwrap_or_default();
        let mut wishes = self.0.borrow_mut();
        if let Some(owner) = owner {
            let wish = |(at, on): &(Position, ServiceName)| Wish {
                owner: owner.clone(),
                key,
                at: *at,
                on: on.clone(),
            };
            wishes.extend(names.iter().map(wish));
        }
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// Notes names that are not among `known` or are `scheduled` jobs, and cycles.
    pub(super) fn judge(
        self,
        s: &Section<'_>,
        known: &BTreeSet<ServiceName>,
        scheduled: impl Fn(&ServiceName) -> bool,
    ) {
        let wishes = self.0.into_inner();
        let complain = |wish: &Wish, wrong| {
            s.complain_at(wish.at, &format!("services.{}.{}", wish.owner, wish.key), wrong);
        };
        for wish in wishes.iter().filter(|wish| !known.contains(&wish.on)) {
            let wrong = Wrong::new(format!("there is no service `{}`", wish.on));
            complain(wish, wrong.like(wish.on.as_str(), known.iter().map(ServiceName::as_str)));
        }
        for wish in wishes.iter().filter(|wish| scheduled(&wish.on)) {
            let wrong =
                Wrong::new(format!("`{}` runs by its schedule, not before others", wish.on));
            complain(wish, wrong.instead("name a job without `schedule`"));
        }
        for cycle in cycles(&wishes) {
            let [.., last] = cycle.as_slice() else { continue };
            let mut told: Vec<&str> = cycle.iter().map(|wish| wish.owner.as_str()).collect();
            told.push(last.on.as_str());
            let wrong = Wrong::new(format!("waits for itself: {}", told.join(" → ")));
            complain(last, wrong.instead("remove one of these"));
        }
    }
}

/// Cycles, each as the wishes that make it: the last one leads back to the owner of the first. Every
/// group of services that wait for each other has at least one here.
fn cycles(wishes: &[Wish]) -> Vec<Vec<&Wish>> {
    let mut of: BTreeMap<&ServiceName, Vec<&Wish>> = BTreeMap::new();
    for wish in wishes {
        of.entry(&wish.owner).or_default().push(wish);
    }
    let mut search = Search { of, path: vec![], done: BTreeSet::new(), found: vec![] };
    for wish in wishes {
        search.visit(&wish.owner);
    }
    search.found
}

/// A search in depth. It recurses, but not deeper than the services that fit into a configuration of
/// 1 MiB.
struct Search<'w> {
    of: BTreeMap<&'w ServiceName, Vec<&'w Wish>>,
    path: Vec<&'w Wish>,
    done: BTreeSet<&'w ServiceName>,
    found: Vec<Vec<&'w Wish>>,
}

impl<'w> Search<'w> {
    fn visit(&mut self, name: &'w ServiceName) {
        if self.done.contains(name) {
            return;
        }
        for wish in self.of.get(name).cloned().unwrap_or_default() {
            self.path.push(wish);
            match self.path.iter().position(|earlier| earlier.owner == wish.on) {
                Some(from) => self.found.extend(self.path.get(from..).map(<[_]>::to_vec)),
                None => self.visit(&wish.on),
            }
            self.path.pop();
        }
        self.done.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(edges: &[(&str, &str)]) -> Vec<String> {
        let name = |name: &str| ServiceName::new(name).unwrap();
        let wishes: Vec<Wish> = edges
            .iter()
            .map(|(owner, on)| Wish {
                owner: name(owner),
                key: "after",
                at: Position::default(),
                on: name(on),
            })
            .collect();
        let owners = |cycle: Vec<&Wish>| cycle.iter().map(|wish| wish.owner.to_string()).collect();
        cycles(&wishes).into_iter().map(owners).collect()
    }

    #[test]
    fn a_cycle_is_told_once_and_without_what_leads_to_it() {
        assert_eq!(told(&[("a", "a")]), ["a"]);
        assert_eq!(told(&[("a", "b"), ("b", "c"), ("c", "b")]), ["bc"]);
        assert_eq!(told(&[("c", "a"), ("a", "b"), ("b", "c")]), ["cab"]);
        assert_eq!(told(&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]), ["ab", "cd"]);
    }

    #[test]
    fn two_ways_to_the_same_service_are_no_cycle() {
        assert_eq!(told(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]), [""; 0]);
    }

    #[test]
    fn a_graph_of_many_ways_is_searched_once() {
        // 2^30 ways lead through it.
        let names: Vec<String> = (0..32).map(|n| format!("s{n}")).collect();
        let edge = |n: usize, step: usize| (names[n].as_str(), names[n + step].as_str());
        let edges: Vec<_> = (0..30).flat_map(|n| [edge(n, 1), edge(n, 2)]).collect();
        assert_eq!(told(&edges), [""; 0]);
    }
}
