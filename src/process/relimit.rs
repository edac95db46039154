//! Other limits for a tree that runs, without a restart.

use std::collections::BTreeSet;

use super::{
    Launcher, Tree,
    confine::{self, Confined, Request},
    error::reason,
};
use crate::sys::{
    cgroup::limits::knobs,
    confine::{Confinement, Rlimit},
    limits,
};

/// Rounds in which processes that came meanwhile are looked for; each begins with its parent's
/// limits.
const ROUNDS: usize = 8;

/// One thing to be told to every process of a tree.
enum Step {
    Limit(Rlimit),
    Nice(i8),
}

impl Step {
    fn what(&self) -> String {
        match self {
            Self::Limit(limit) => format!("limits.{limit}"),
            Self::Nice(nice) => format!("nice {nice}"),
        }
    }

    fn take(&self, pid: i32) -> std::io::Result<()> {
        match self {
            Self::Limit(limit) => limits::set_limit(pid, limit),
            Self::Nice(nice) => limits::set_nice(pid, *nice),
        }
    }
}

/// Whether something that was asked for has to be told anew: its limits and its priority, but for
/// those that are as before.
fn is_stale(what: &str, kept: &BTreeSet<String>) -> bool {
    (what.starts_with("limits.") || what.starts_with("nice ")) && !kept.contains(what)
}

impl Launcher {
    /// Holds `tree`, of which `confined` held so far, to the limits and the priority of `new`
    /// instead of those of `old`, as far as the kernel lets that be done to what runs: what holds
    /// then is in [`Tree::confined`]. What is not asked for any more is as the daemon has it.
    pub fn relimit(
        &self,
        tree: &mut Tree,
        (old, new): (&Confinement, &Confinement),
        mut confined: Confined,
    ) {
        let kept = kept(old, new);
        confined.enforced.retain(|what| !is_stale(what, &kept));
        confined.refused.retain(|refusal| !is_stale(&refusal.asked, &kept));
        let mut request = Request::default();
        for step in asked(old, new) {
            match through(tree, &step) {
                Ok(()) => request.ask(step.what(), []),
                Err(e) => request.refuse(step.what(), beyond(&e)),
            }
        }
        for step in lifted(old, new) {
            if let Err(e) = through(tree, &step) {
                request.refuse(step.what(), beyond(&e));
            }
        }
        self.relimit_whole(tree, (old, new), &mut request);
        tree.add_confined(confined, request);
    }

    /// What is asked for the tree as a whole.
    fn relimit_whole(
        &self,
        tree: &Tree,
        (old, new): (&Confinement, &Confinement),
        request: &mut Request,
    ) {
        let (before, after) = (knobs(&old.limits), knobs(&new.limits));
        let lifted = before.iter().filter(|knob| after.iter().all(|now| now.file != knob.file));
        lifted.for_each(|knob| tree.leaf().into_iter().for_each(|leaf| leaf.lift(knob)));
        if confine::limit(&new.limits, self.base(), tree.leaf(), request) {
            self.note_limits();
        }
    }
}

/// What is asked for as before.
fn kept(old: &Confinement, new: &Confinement) -> BTreeSet<String> {
    let limits = new.limits.rlimits.iter().filter(|limit| old.limits.rlimits.contains(limit));
    let nice = new.nice.filter(|_| old.nice == new.nice);
    limits.copied().map(Step::Limit).chain(nice.map(Step::Nice)).map(|step| step.what()).collect()
}

/// What is asked for otherwise than before.
fn asked(old: &Confinement, new: &Confinement) -> Vec<Step> {
    let limits = new.limits.rlimits.iter().filter(|limit| !old.limits.rlimits.contains(limit));
    let nice = new.nice.filter(|_| old.nice != new.nice);
    limits.copied().map(Step::Limit).chain(nice.map(Step::Nice)).collect()
}

/// What is not asked for any more.
fn lifted(old: &Confinement, new: &Confinement) -> Vec<Step> {
    let after = &new.limits.rlimits;
    let is_gone = |limit: &&Rlimit| after.iter().all(|now| now.resource != limit.resource);
    let limits = old.limits.rlimits.iter().filter(is_gone);
    let limits = limits.map(|limit| Step::Limit(limits::own_limit(limit.resource)));
    // Where the daemon cannot learn its own priority, nothing else can be meant.
    let nice = old.nice.filter(|_| new.nice.is_none());
    let nice = nice.map(|_| Step::Nice(limits::own_nice().unwrap_or_default()));
    limits.chain(nice).collect()
}

/// Takes a step with every process of `tree`. All of them are tried; the first refusal is told.
fn through(tree: &Tree, step: &Step) -> std::io::Result<()> {
    let (mut done, mut refused) = (BTreeSet::new(), None);
    for _ in 0..ROUNDS {
        let new: Vec<i32> = tree.pids().into_iter().filter(|pid| done.insert(*pid)).collect();
        if new.is_empty() {
            break;
        }
        for pid in new {
            refused = step.take(pid).err().or(refused);
        }
    }
    refused.map_or(Ok(()), Err)
}

fn beyond(error: &std::io::Error) -> String {
    format!("{}; aibkd may not give it to what runs, only to what it starts", reason(error))
}
