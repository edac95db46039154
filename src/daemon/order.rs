//! The order of starting and stopping. Pure: from what depends on what, and how everybody stands, to
//! whose turn it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{config::Depends, ident::ServiceName};

/// What every service waits for.
pub(super) type Graph = BTreeMap<ServiceName, Depends>;

/// How every service stands while everything comes up.
pub(super) type Standings = BTreeMap<ServiceName, Standing>;

/// How a service stands while everything comes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its turn has not come.
    Waiting,
    /// It is being started.
    Starting,
    /// It is ready.
    Up,
    /// It was tried, and is not ready.
    Failed,
    /// It is not meant to run.
    Stopped,
    /// It was not even tried.
    Held(Hold),
}

/// Why a service is not started: what it requires is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    /// What it requires.
    pub(super) on: ServiceName,
    /// How that is.
    pub(super) is: Lack,
}

/// How a service is that is required and not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    Failed,
    Stopped,
    Held,
    NotReady,
    /// A job that has not run to its end yet.
    NotRun,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = match self.is {
            Lack::Failed => "has failed",
            Lack::Stopped => "is stopped",
            Lack::Held => "is held itself",
            Lack::NotReady => "is not ready",
            Lack::NotRun => "has not run",
        };
        write!(f, "it requires {}, which {is}", self.on)
    }
}

/// What a waiting service is to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Start.
    Start,
    /// Give up waiting.
    Hold(Hold),
}

/// Whose turn it is. Asked again once all of these have been taken and whenever a standing has changed
/// since; when it names nobody and nobody is starting, everybody has had their turn.
pub(super) fn turns(graph: &Graph, standings: &Standings) -> Vec<(ServiceName, Turn)> {
    let waiting = standings.iter().filter(|(_, standing)| **standing == Standing::Waiting);
    waiting
        .filter_map(|(name, _)| {
            let turn = match graph.get(name) {
                Some(depends) => turn(depends, standings)?,
                None => Turn::Start,
            };
            Some((name.clone(), turn))
        })
        .collect()
}

fn turn(depends: &Depends, standings: &Standings) -> Option<Turn> {
    // What it requires and will not have decides at once; else everybody is waited for.
    if let Some(hold) = depends.requires.iter().find_map(|on| hold(on, standings)) {
        return Some(Turn::Hold(hold));
    }
    waits_for(depends, standings).next().is_none().then_some(Turn::Start)
}

fn hold(on: &ServiceName, standings: &Standings) -> Option<Hold> {
    let is = match standings.get(on)? {
        Standing::Failed => Lack::Failed,
        Standing::Stopped => Lack::Stopped,
        Standing::Held(_) => Lack::Held,
        Standing::Waiting | Standing::Starting | Standing::Up => return None,
    };
    Some(Hold { on: on.clone(), is })
}

/// Those of whom it is not known yet what becomes of them.
pub(super) fn waits_for<'d>(
    depends: &'d Depends,
    standings: &'d Standings,
) -> impl Iterator<Item = &'d ServiceName> {
    depends
        .all()
        .filter(|on| matches!(standings.get(*on), Some(Standing::Waiting | Standing::Starting)))
}

/// `named` in the order in which they are rolled: each after those among them that it depends on, be it
/// by way of others; else as they were named.
pub(super) fn in_order(named: &[ServiceName], graph: &Graph) -> Vec<ServiceName> {
    let mut left: Vec<ServiceName> = vec![];
    for name in named {
        if !left.contains(name) {
            left.push(name.clone());
        }
    }
    let mut ordered = vec![];
    while !left.is_empty() {
        let needs = |name: &ServiceName| needed_by(name, graph);
        let free = left.iter().position(|name| !left.iter().any(|on| needs(name).contains(on)));
        // There is always one, for a cycle is a mistake in the configuration.
        ordered.push(left.remove(free.unwrap_or_default()));
    }
    ordered
}

/// Everybody that `name` depends on, be it by way of others.
fn needed_by(name: &ServiceName, graph: &Graph) -> BTreeSet<ServiceName> {
    let mut needed = BTreeSet::new();
    let mut open = vec![name.clone()];
    while let Some(name) = open.pop() {
        for on in graph.get(&name).into_iter().flat_map(Depends::all) {
            if needed.insert(on.clone()) {
                open.push(on.clone());
            }
        }
    }
    needed
}

/// Those of `running` that may stop now: nobody else that runs depends on them.
pub(super) fn may_stop(graph: &Graph, running: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
    let needed: BTreeSet<&ServiceName> =
        running.iter().filter_map(|name| graph.get(name)).flat_map(Depends::all).collect();
    running.iter().filter(|name| !needed.contains(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn what_is_named_goes_after_what_it_depends_on_and_else_as_named() {
        let name = |name: &str| ServiceName::new(name).unwrap();
        let names = |names: &[&str]| names.iter().map(|&one| name(one)).collect::<Vec<_>>();
        let requires = |on: &[&str]| Depends {
            requires: names(on).into_iter().collect(),
            ..Depends::default()
        };
        let after =
            |on: &[&str]| Depends { after: names(on).into_iter().collect(), ..Depends::default() };
        let graph = Graph::from([
            (name("db"), Depends::default()),
            (name("api"), requires(&["db"])),
            (name("admin"), after(&["api"])),
            (name("worker"), Depends::default()),
        ]);
        for (named, expected) in [
            (&["api", "admin"][..], &["api", "admin"][..]),
            (&["admin", "api"], &["api", "admin"]),
            (&["worker", "admin", "db"], &["worker", "db", "admin"]),
            (&["admin", "worker", "db", "api"], &["worker", "db", "api", "admin"]),
            (&["worker", "worker", "api"], &["worker", "api"]),
            (&[], &[]),
        ] {
            assert_eq!(in_order(&names(named), &graph), names(expected), "{named:?}");
        }
    }

    fn name(n: usize) -> ServiceName {
        ServiceName::new(["a", "b", "c", "d"][n]).unwrap()
    }

    /// Every graph of four services without a cycle (but for their names): each later one may come
    /// after, or require, each earlier one.
    fn graphs() -> impl Iterator<Item = Graph> {
        let pairs = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)];
        (0..3_usize.pow(6)).map(move |code| {
            let mut graph: Graph = (0..4).map(|n| (name(n), Depends::default())).collect();
            for (at, (owner, on)) in pairs.iter().enumerate() {
                let depends = graph.get_mut(&name(*owner)).unwrap();
                match code / 3_usize.pow(u32::try_from(at).unwrap()) % 3 {
                    0 => {}
                    1 => drop(depends.after.insert(name(*on))),
                    _ => drop(depends.requires.insert(name(*on))),
                }
            }
            graph
        })
    }

    fn settled(standing: &Standing) -> bool {
        !matches!(standing, Standing::Waiting | Standing::Starting)
    }

    /// Lets everybody whose turn it is take it; `last` says whether the one that began last ends
    /// first. Gives how everybody stands in the end.
    fn rise(graph: &Graph, ends: impl Fn(&ServiceName) -> Standing, last: bool) -> Standings {
        let mut standings: Standings =
            graph.keys().map(|name| (name.clone(), Standing::Waiting)).collect();
        let mut starting = VecDeque::new();
        loop {
            let taken = turns(graph, &standings);
            let idle = taken.is_empty();
            for (name, turn) in taken {
                let depends = &graph[&name];
                let now = match turn {
                    Turn::Start => {
                        assert!(depends.all().all(|on| settled(&standings[on])), "too early");
                        let up = |on| standings[on] == Standing::Up;
                        assert!(depends.requires.iter().all(up), "without what it requires");
                        starting.push_back(name.clone());
                        Standing::Starting
                    }
                    Turn::Hold(hold) => {
                        assert!(depends.requires.contains(&hold.on));
                        let lacks = settled(&standings[&hold.on]);
                        assert!(lacks && standings[&hold.on] != Standing::Up, "held in vain");
                        Standing::Held(hold)
                    }
                };
                standings.insert(name, now);
            }
            if idle {
                let waits = standings.values().any(|standing| *standing == Standing::Waiting);
                assert!(!waits || !starting.is_empty(), "nobody goes on: {standings:?}");
                let next = if last { starting.pop_back() } else { starting.pop_front() };
                let Some(next) = next else { break };
                standings.insert(next.clone(), ends(&next));
            }
        }
        standings
    }

    #[test]
    fn everybody_has_their_turn_whatever_happens_to_the_others() {
        let outcomes = [Standing::Up, Standing::Failed, Standing::Stopped];
        for graph in graphs() {
            // Nobody depends on the last one, so how it ends is all the same.
            for code in 0..27 {
                let ends = |of: &ServiceName| {
                    let n = (0..4).find(|n| name(*n) == *of).unwrap();
                    outcomes[code / 3_usize.pow(u32::try_from(n).unwrap()) % 3].clone()
                };
                let one = rise(&graph, ends, false);
                assert!(one.values().all(settled), "{graph:?}: {one:?}");
                let held = |standings: Standings| -> Vec<bool> {
                    standings.values().map(|s| matches!(s, Standing::Held(_))).collect()
                };
                assert_eq!(held(one), held(rise(&graph, ends, true)), "the order of ends matters");
            }
        }
    }

    #[test]
    fn all_that_nothing_depends_on_stop_at_once_and_the_rest_after_them() {
        for graph in graphs() {
            let mut running: BTreeSet<ServiceName> = graph.keys().cloned().collect();
            while !running.is_empty() {
                let may = may_stop(&graph, &running);
                for name in &running {
                    let needed =
                        running.iter().any(|other| graph[other].all().any(|on| on == name));
                    assert_eq!(may.contains(name), !needed);
                }
                // One at a time: the others are then named again.
                let first = may.first().expect("somebody may always stop").clone();
                running.remove(&first);
            }
        }
    }

    #[test]
    fn a_hold_says_what_is_missing_and_how_it_is() {
        let hold = Hold { on: name(0), is: Lack::Failed };
        assert_eq!(hold.to_string(), "it requires a, which has failed");
    }
}
