//! What a step tells while it goes on: words, or what is left of an instance's traffic.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::record::Rollout;
use crate::nginx::Draining;

/// Old nginx workers of which the pids are shown; there may be one for each websocket.
const SHOWN: usize = 4;

/// What is left of an instance's traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Established connections to it.
    pub connections: usize,
    /// Seconds for which the oldest of them has been seen; it may be older.
    pub oldest_s: u64,
    /// Pids of nginx workers from before a reload, which may still send to it.
    pub old_workers: Vec<i32>,
}

/// What a step says while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What it waits for, in words.
    Note(String),
    /// It waits for this to end.
    Left(Left),
    /// So many requests were cut by the end of an instance.
    Cut(usize),
}

/// Who is told.
pub(super) type Tell<'a> = &'a (dyn Fn(Told) + Send + Sync);

impl Left {
    /// Nothing is left.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.connections == 0 && self.old_workers.is_empty()
    }
}

impl Rollout {
    /// Takes what the step under way tells, and whether that is news.
    pub fn hear(&mut self, told: Told) -> bool {
        let Some(taken) = self.steps.last_mut() else { return false };
        let before = taken.clone();
        match told {
            Told::Note(note) => (taken.note, taken.left) = (Some(note), None),
            Told::Left(left) => {
                taken.note = Some(left.to_string());
                taken.left = Some(left).filter(|left| !left.is_nothing());
            }
            Told::Cut(cut) => (taken.left, taken.cut) = (None, taken.cut + cut),
        }
        let news = *taken != before;
        self.revision += u64::from(news);
        news
    }

    /// Takes over what `shown`, the same rollout, has heard meanwhile.
    pub fn catch_up(&mut self, shown: &Self) {
        self.revision = self.revision.max(shown.revision);
        if let (Some(taken), Some(heard)) = (self.steps.last_mut(), shown.steps.last()) {
            (taken.left, taken.cut) = (heard.left.clone(), heard.cut);
        }
    }

    /// Requests that its steps have cut.
    #[must_use]
    pub fn cut(&self) -> usize {
        self.steps.iter().map(|taken| taken.cut).sum()
    }
}

impl From<&Draining> for Left {
    fn from(left: &Draining) -> Self {
        Self {
            connections: left.connections,
            oldest_s: left.oldest.as_secs(),
            old_workers: left.old_workers.clone(),
        }
    }
}

impl From<String> for Told {
    fn from(note: String) -> Self {
        Self::Note(note)
    }
}

/// `2 open connections for 12s, 1 old nginx worker (4711)`.
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = match self.oldest_s {
            0 => String::new(),
            seconds => format!(" for {seconds}s"),
        };
        let connections = match self.connections {
            0 => None,
            1 => Some(format!("1 open connection{age}")),
            n => Some(format!("{n} open connections{age}")),
        };
        let workers = match self.old_workers.as_slice() {
            [] => None,
            [one] => Some(format!("1 old nginx worker ({one})")),
            several => Some(format!("{} old nginx workers ({})", several.len(), pids(several))),
        };
        let parts: Vec<String> = [connections, workers].into_iter().flatten().collect();
        match parts.as_slice() {
            [] => f.write_str("nothing is left"),
            parts => f.write_str(&parts.join(", ")),
        }
    }
}

/// The first few.
fn pids(all: &[i32]) -> String {
    let shown: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if all.len() > shown.len() { " ..." } else { "" };
    format!("{}{more}", shown.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(connections: usize, oldest_s: u64, old_workers: &[i32]) -> String {
        Left { connections, oldest_s, old_workers: old_workers.to_vec() }.to_string()
    }

    #[test]
    fn what_is_left_is_told_in_a_line() {
        assert_eq!(told(0, 0, &[]), "nothing is left");
        assert_eq!(told(1, 0, &[]), "1 open connection");
        assert_eq!(told(0, 0, &[7]), "1 old nginx worker (7)");
        assert_eq!(told(2, 12, &[7, 8]), "2 open connections for 12s, 2 old nginx workers (7 8)");
        assert_eq!(told(0, 0, &[1, 2, 3, 4, 5]), "5 old nginx workers (1 2 3 4 ...)");
    }
}
