//! What every benchmark here needs: figures taken in rounds, and a table of them.
#![allow(dead_code, reason = "no benchmark uses all of it")]

pub mod memory;
pub mod peers;
pub mod stamps;

use std::{fmt::Write as _, time::Duration};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_micros(200);

/// One quantity, measured once per round, in milliseconds.
#[derive(Debug, Default)]
pub struct Figure(Vec<f64>);

impl Figure {
    /// Adds a round.
    pub fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1e3);
    }

    /// Adds the rounds of `other`.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Half of the rounds were faster; zero when there was none.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
        f64::midpoint(
            sorted.get(low).copied().unwrap_or(0.0),
            sorted.get(high).copied().unwrap_or(0.0),
        )
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().reduce(f64::min).unwrap_or(0.0)
    }

    fn most(&self) -> f64 {
        self.0.iter().copied().reduce(f64::max).unwrap_or(0.0)
    }
}

/// How a row stands to the floor.
#[derive(Debug, Clone, Copy)]
pub enum Against<'a> {
    /// It is the floor.
    Floor,
    /// Its ratio to this floor is shown beside the target.
    Target(&'a Figure, f64),
    /// Its ratio to this floor is shown, and nothing was promised of it.
    Only(&'a Figure),
    /// The target is a time, in milliseconds.
    Within(f64),
    /// It is a part of another row.
    Part,
}

/// A table of at most 80 columns.
#[derive(Debug)]
pub struct Table(String);

impl Table {
    /// With `title` above it.
    pub fn new(title: &str) -> Self {
        let head = format!(
            "{title}\n\n{:<36}{:>9}{:>9}{:>9}{:>8}{:>8}\n",
            "milliseconds", "median", "min", "max", "ratio", "target"
        );
        Self(head)
    }

    /// Adds a row.
    pub fn row(&mut self, what: &str, figure: &Figure, against: Against<'_>) -> &mut Self {
        let ratio = |floor: &Figure| format!("{:.2}", figure.median() / floor.median());
        let (ratio, target) = match against {
            Against::Floor => ("1".to_owned(), String::new()),
            Against::Target(floor, target) => (ratio(floor), format!("<= {target}")),
            Against::Only(floor) => (ratio(floor), String::new()),
            Against::Within(target) => (String::new(), format!("<= {target}")),
            Against::Part => (String::new(), String::new()),
        };
        let (median, least, most) = (figure.median(), figure.least(), figure.most());
        let line = format!("{what:<36}{median:>9.2}{least:>9.2}{most:>9.2}{ratio:>8}{target:>8}");
        let _ = writeln!(self.0, "{}", line.trim_end());
        self
    }

    /// Adds a line of words.
    pub fn note(&mut self, words: &str) -> &mut Self {
        let _ = writeln!(self.0, "{words}");
        self
    }

    /// Shows it.
    pub fn print(&self) {
        println!("{}", self.0);
    }
}

/// Lets what was begun come to rest, so that one measurement does not lie in another's wake.
pub fn rest(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "here the passing of time is what is wanted")]
    std::thread::sleep(time);
}

/// Asks `look` often, until it says yes.
pub fn until(what: &str, mut look: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !look() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        rest(LOOK);
    }
}
