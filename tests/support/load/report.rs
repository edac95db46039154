//! What a load saw, for people and for programs.

use std::{collections::BTreeMap, fmt, fs, io, path::Path};

use serde::Serialize;

use super::{
    Class,
    tally::{Example, Fate, Kind, Tally},
};

/// What a load saw.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How long it lasted.
    pub seconds: f64,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered as they should be.
    pub answered: u64,
    /// Requests lost, whatever the class, orders executed twice or never among them.
    pub lost: u64,
    /// Requests written into a kept-alive connection as the server closed it; not in `lost`.
    pub reuse_races: u64,
    /// Longest time between two successful answers to GETs.
    pub longest_pause_ms: f64,
    /// Median time to an answer, of GETs.
    pub p50_ms: f64,
    /// 99th percentile of it.
    pub p99_ms: f64,
    /// Requests sent, by kind.
    pub sent_by_kind: BTreeMap<String, u64>,
    /// Failures, by class.
    pub failures: BTreeMap<String, u64>,
    /// Websockets that the server closed properly, by code.
    pub websocket_closes: BTreeMap<u16, u64>,
    /// What became of the orders.
    pub orders: Orders,
    /// The first failures, word for word.
    pub examples: Vec<Example>,
}

/// What became of the orders.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Orders {
    /// Orders that the application acknowledged.
    pub acknowledged: u64,
    /// Whether executions were counted.
    pub counted: bool,
    /// Acknowledged, and executed exactly once.
    pub once: u64,
    /// Executed more than once, acknowledged or not.
    pub twice: u64,
    /// Acknowledged, but never executed.
    pub never: u64,
    /// Raced, and executed once nevertheless.
    pub raced_executed: u64,
}

impl Report {
    pub(super) fn of(tally: &Tally, executed: Option<&Path>) -> io::Result<Self> {
        let progress = tally.progress();
        let orders = Orders::of(tally, executed)?;
        let mut latencies = tally.latencies.clone();
        latencies.sort_unstable();
        let pause = tally.longest_pause;
        let ended = tally.ended.unwrap_or_else(std::time::Instant::now);
        Ok(Self {
            seconds: (ended - tally.begun).as_secs_f64(),
            sent: progress.sent,
            answered: progress.answered,
            lost: progress.lost + orders.twice + orders.never,
            reuse_races: tally.failures.get(&Class::Race).copied().unwrap_or_default(),
            longest_pause_ms: pause.as_secs_f64() * 1e3,
            p50_ms: percentile(&latencies, 50),
            p99_ms: percentile(&latencies, 99),
            sent_by_kind: named(&tally.sent),
            failures: named(&tally.failures),
            websocket_closes: tally.closes.clone(),
            orders,
            examples: tally.examples.clone(),
        })
    }

    /// Failures of one class.
    pub fn count(&self, class: Class) -> u64 {
        self.failures.get(&class.to_string()).copied().unwrap_or_default()
    }

    /// Requests of one kind that were sent.
    pub fn sent_of(&self, kind: Kind) -> u64 {
        self.sent_by_kind.get(&kind.to_string()).copied().unwrap_or_default()
    }
}

impl Orders {
    fn of(tally: &Tally, executed: Option<&Path>) -> io::Result<Self> {
        let fates = tally.orders.iter();
        let acknowledged = fates.filter(|(_, fate)| *fate == Fate::Acknowledged).count() as u64;
        let mut orders = Self { acknowledged, ..Self::default() };
        let Some(executed) = executed else { return Ok(orders) };
        let lines = match fs::read_to_string(executed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let mut times: BTreeMap<&str, u64> = BTreeMap::new();
        for id in lines.lines() {
            *times.entry(id).or_default() += 1;
        }
        orders.counted = true;
        for (id, fate) in &tally.orders {
            match (times.get(id.as_str()).copied().unwrap_or_default(), fate) {
                (0, Fate::Acknowledged) => orders.never += 1,
                (1, Fate::Acknowledged) => orders.once += 1,
                (1, Fate::Raced) => orders.raced_executed += 1,
                (0 | 1, _) => {}
                (_, _) => orders.twice += 1,
            }
        }
        Ok(orders)
    }
}

fn named<K: fmt::Display>(counts: &BTreeMap<K, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(key, many)| (key.to_string(), *many)).collect()
}

fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |us| f64::from(*us) / 1e3)
}

fn list<K: fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let each: Vec<_> = counts.iter().map(|(key, many)| format!("{many} {key}")).collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ") }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let orders = &self.orders;
        writeln!(f, "requests   {} sent in {:.1} s", self.sent, self.seconds)?;
        writeln!(f, "           {}", list(&self.sent_by_kind))?;
        writeln!(f, "lost       {}", self.lost)?;
        writeln!(f, "failures   {}", list(&self.failures))?;
        writeln!(f, "pause      {:.0} ms at most between two answers", self.longest_pause_ms)?;
        writeln!(f, "latency    p50 {:.1} ms, p99 {:.1} ms", self.p50_ms, self.p99_ms)?;
        if orders.counted {
            let Orders { once, twice, never, .. } = orders;
            writeln!(f, "orders     {once} executed once, {twice} twice, {never} never")?;
        } else if orders.acknowledged > 0 {
            writeln!(f, "orders     {} acknowledged", orders.acknowledged)?;
        }
        if !self.websocket_closes.is_empty() {
            writeln!(f, "closed     {} (websockets, by code)", codes(&self.websocket_closes))?;
        }
        for example in &self.examples {
            let Example { at_s, class, path, detail } = example;
            let line = format!("  {at_s:7.2} s {class} {path}: {detail}");
            writeln!(f, "{}", line.chars().take(80).collect::<String>())?;
        }
        Ok(())
    }
}

fn codes(closes: &BTreeMap<u16, u64>) -> String {
    let each: Vec<_> = closes.iter().map(|(code, many)| format!("{many} with {code}")).collect();
    each.join(", ")
}
