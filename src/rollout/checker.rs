//! A model checker for the plan: every interleaving of a rollout with what can go wrong is visited,
//! and the invariants hold in each state.
//!
//! [`state`] is the engine's loop and its daemon, which may die between any two of its moves;
//! [`reality`] is the service and nginx, as they are and not as they are seen; [`properties`] says
//! what must never be. The search is exhaustive within a number of faults per rollout, and the
//! states form a finite graph, so "every run ends" is that the graph has no cycle and each of its
//! ends is an end of the rollout.

mod broken;
mod properties;
mod reality;
mod scenes;
mod state;

use std::collections::HashMap;

use self::state::State;
use super::{
    plan::Next,
    record::{Outcome, Rollout},
    world::World,
};

/// What decides: the plan, or one that is broken on purpose.
type Plan = fn(&Rollout, &World) -> Next;

/// How the states of a scene are connected.
#[derive(Default)]
struct Explored {
    states: Vec<State>,
    /// From which state, and by which move, each was first reached.
    from: Vec<Option<(usize, String)>>,
    next: Vec<Vec<usize>>,
}

/// What a search came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Tally {
    states: usize,
    moves: usize,
    done: usize,
    undone: usize,
    stuck: usize,
}

/// A property that does not hold, and how one gets there.
#[derive(Debug)]
struct Violation {
    what: String,
    path: Vec<String>,
}

impl Explored {
    /// Every state that is reachable from `first`, each one checked.
    fn new(first: State, plan: Plan) -> Result<Self, Violation> {
        let mut all = Self::default();
        let mut known = HashMap::from([(first.clone(), 0)]);
        all.add(first, None);
        let mut at = 0;
        while let Some(state) = all.states.get(at).cloned() {
            let moves = state.moves(plan).map_err(|what| all.violation(at, what))?;
            for (name, to) in moves {
                let index = *known.entry(to).or_insert_with_key(|to| {
                    all.add(to.clone(), Some((at, name)));
                    all.states.len() - 1
                });
                all.next[at].push(index);
            }
            at += 1;
        }
        Ok(all)
    }

    fn add(&mut self, state: State, from: Option<(usize, String)>) {
        self.states.push(state);
        self.from.push(from);
        self.next.push(vec![]);
    }

    fn violation(&self, mut at: usize, what: String) -> Violation {
        let mut path = vec![format!("{:#?}", self.states[at].reality)];
        while let Some((before, name)) = &self.from[at] {
            path.push(name.clone());
            at = *before;
        }
        path.reverse();
        Violation { what, path }
    }

    /// Every run ends: nothing goes round, and what goes no further has ended.
    fn ends(&self) -> Result<Tally, Violation> {
        let mut tally = Tally { states: self.states.len(), ..Tally::default() };
        let mut into = vec![0_usize; self.states.len()];
        for to in self.next.iter().flatten() {
            into[*to] += 1;
            tally.moves += 1;
        }
        let mut free: Vec<usize> = (0..into.len()).filter(|at| into[*at] == 0).collect();
        let mut sorted = 0;
        while let Some(at) = free.pop() {
            sorted += 1;
            for to in &self.next[at] {
                into[*to] -= 1;
                if into[*to] == 0 {
                    free.push(*to);
                }
            }
            if self.next[at].is_empty() {
                match self.states[at].outcome() {
                    Some(Outcome::Done) => tally.done += 1,
                    Some(Outcome::Undone) => tally.undone += 1,
                    Some(Outcome::Stuck) => tally.stuck += 1,
                    None => return Err(self.violation(at, "it goes no further".to_owned())),
                }
            }
        }
        let round = into.iter().position(|into| *into > 0);
        match round {
            Some(at) if sorted < self.states.len() => {
                Err(self.violation(at, "it never ends".to_owned()))
            }
            _ => Ok(tally),
        }
    }
}

/// Visits every state of `first`'s rollout. From where it is stuck, an operator's command must lead
/// out.
fn check(first: State, plan: Plan) -> Result<Tally, Violation> {
    let explored = Explored::new(first, plan)?;
    let tally = explored.ends()?;
    for (at, state) in explored.states.iter().enumerate() {
        properties::leads_out(state).map_err(|what| explored.violation(at, what))?;
    }
    Ok(tally)
}
