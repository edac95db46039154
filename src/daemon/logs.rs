//! Output of several instances on its way to a client: in the order of time, for as long as the
//! client listens.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use tokio::sync::mpsc;

use super::{Daemon, problems, views};
use crate::{
    api::{
        operations::Answer,
        types::{LogLine, Logs},
    },
    ident::{InstanceId, Slot},
    instance::Instance,
    process::{Capture, History, Line, Wanted},
};

/// The most text of past lines that is kept in memory for one client, in bytes.
const MOST: usize = 16 * 1024 * 1024;
/// Lines that may come while the past is sent, of each instance.
const CAUGHT_UP: usize = 10_000;
/// How what aibkd itself says in an output begins.
const NOTICE: &str = "[aibk: ";

/// An instance whose output is asked for.
#[derive(Debug, Clone)]
pub(super) struct Whose {
    name: Arc<str>,
    output: Capture,
}

impl Whose {
    fn of(instance: &Instance) -> Self {
        Self { name: instance.id().to_string().into(), output: instance.output().clone() }
    }
}

impl Daemon {
    /// The instances that `of` names, each once; all where it names none.
    pub(super) fn whose(&self, of: &[InstanceId]) -> Answer<Vec<Whose>> {
        let mut instances: Vec<Instance> = Vec::new();
        for id in of {
            let service = self.engine.crew(&id.service).ok().filter(|_| id.slot == Slot::Sole);
            match (self.instance(id), service) {
                (Ok(instance), _) => instances.push(instance),
                (Err(_), Some(crew)) => instances.extend(crew.instances.values().cloned()),
                (Err(problem), None) => return Err(problem),
            }
        }
        if of.is_empty() {
            let crews = self.engine.crews();
            instances.extend(crews.values().flat_map(|crew| crew.instances.values()).cloned());
            instances.extend(self.managed_nginx.clone());
            instances.extend(self.jobs.all().into_iter().map(|job| job.instance));
        }
        instances.sort_by(|one, other| one.id().cmp(other.id()));
        instances.dedup_by(|one, other| one.id() == other.id());
        Ok(instances.iter().map(Whose::of).collect())
    }
}

/// What comes after the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    End,
    GoOn,
}

/// Sends what `how` asks for. Returns once what was asked for is understood, and where the number
/// of lines is limited, no new line will be missed any more.
pub(super) async fn tell(whose: Vec<Whose>, how: &Logs, send: mpsc::Sender<LogLine>) -> Answer<()> {
    let wanted = wanted(how)?;
    let then = if how.follow { Then::GoOn } else { Then::End };
    match how.n {
        Some(n) => {
            let wanted = vec![wanted; whose.len()];
            let (past, more) = end(&whose, n, &wanted, then).await;
            tokio::spawn(conclude(whose, past, more, wanted, send));
        }
        None => drop(tokio::spawn(everything(whose, wanted, then, send))),
    }
    Ok(())
}

fn wanted(how: &Logs) -> Answer<Wanted> {
    let mut wanted = Wanted::default();
    if let Some(since) = how.since {
        wanted = wanted.since(since.as_microsecond());
    }
    if let Some(until) = how.until {
        wanted = wanted.until(until.as_microsecond());
    }
    match &how.grep {
        Some(pattern) => wanted.grep(pattern).map_err(|why| problems::bad_pattern(&why)),
        None => Ok(wanted),
    }
}

/// The last `n` lines of all together, and for each instance those to come, where they are wanted.
async fn end(
    whose: &[Whose],
    n: usize,
    wanted: &[Wanted],
    then: Then,
) -> (Past, Vec<mpsc::Receiver<Line>>) {
    let mut past = Past::new(n);
    let mut more = Vec::new();
    for (index, (one, wanted)) in whose.iter().zip(wanted).enumerate() {
        let lines = match then {
            Then::End => one.output.tail(n, wanted).await,
            Then::GoOn => {
                let (lines, next) = one.output.follow(n, wanted).await;
                more.push(next);
                lines
            }
        };
        past.add(index, lines);
    }
    (past, more)
}

/// Sends what [`end`] found, and goes on with `more`.
async fn conclude(
    whose: Vec<Whose>,
    past: Past,
    more: Vec<mpsc::Receiver<Line>>,
    wanted: Vec<Wanted>,
    send: mpsc::Sender<LogLine>,
) {
    for (index, line) in past.lines {
        let Some(one) = whose.get(index) else { continue };
        if send.send(views::log_line(&one.name, line)).await.is_err() {
            return;
        }
    }
    for ((one, lines), wanted) in whose.into_iter().zip(more).zip(wanted) {
        tokio::spawn(forward(one.name, lines, wanted, send.clone()));
    }
}

/// Sends every line there is, however many; then those that came meanwhile, and go on coming.
async fn everything(whose: Vec<Whose>, wanted: Wanted, then: Then, send: mpsc::Sender<LogLine>) {
    let mut histories = Vec::new();
    for one in &whose {
        histories.push((Arc::clone(&one.name), one.output.history(&wanted).await));
    }
    let pouring = send.clone();
    // Many may wait for a disk or a client at once; the limit is that of connections.
    let poured = tokio::task::spawn_blocking(move || pour(histories, &pouring));
    let Ok(Some(last)) = poured.await else { return };
    if then == Then::GoOn {
        let wanted: Vec<_> = last.into_iter().map(|at| wanted.clone().since(at + 1)).collect();
        let (past, more) = end(&whose, CAUGHT_UP, &wanted, then).await;
        conclude(whose, past, more, wanted, send).await;
    }
}

/// Sends the lines of several histories by time. For each the time of its last line; `None` when
/// the client is gone.
fn pour(histories: Vec<(Arc<str>, History)>, send: &mpsc::Sender<LogLine>) -> Option<Vec<i64>> {
    let mut last = vec![i64::MIN; histories.len()];
    let mut next = BinaryHeap::new();
    let mut sources: Vec<_> =
        histories.into_iter().map(|(name, lines)| (name, lines.peekable())).collect();
    for (index, (_, lines)) in sources.iter_mut().enumerate() {
        next.extend(lines.peek().map(|line| Reverse((line.at, index))));
    }
    while let Some(Reverse((at, index))) = next.pop() {
        let (name, lines) = sources.get_mut(index)?;
        let line = lines.next()?;
        send.blocking_send(views::log_line(name, line)).ok()?;
        if let Some(last) = last.get_mut(index) {
            *last = at;
        }
        next.extend(lines.peek().map(|line| Reverse((line.at, index))));
    }
    Some(last)
}

/// Sends wanted lines as they come; also what is said in place of lines that were lost.
async fn forward(
    name: Arc<str>,
    mut lines: mpsc::Receiver<Line>,
    wanted: Wanted,
    send: mpsc::Sender<LogLine>,
) {
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = send.closed() => None,
        };
        let Some(line) = line else { return };
        let told = wanted.has(&line) || line.text.starts_with(NOTICE);
        if told && send.send(views::log_line(&name, line)).await.is_err() {
            return;
        }
    }
}

/// The last lines of several instances.
struct Past {
    n: usize,
    /// With the place of the instance each is of; by time.
    lines: Vec<(usize, Line)>,
}

impl Past {
    const fn new(n: usize) -> Self {
        Self { n, lines: Vec::new() }
    }

    /// Adds those of one instance; what is too much goes, the oldest first.
    fn add(&mut self, index: usize, lines: Vec<Line>) {
        self.lines.extend(lines.into_iter().map(|line| (index, line)));
        self.lines.sort_by_key(|(_, line)| line.at);
        let mut bytes = 0;
        let fit = |(_, line): &&(usize, Line)| {
            bytes += line.text.len();
            bytes <= MOST
        };
        let kept = self.lines.iter().rev().take(self.n).take_while(fit).count();
        self.lines.drain(..self.lines.len() - kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ident::Generation, process::Stream};

    fn line(at: i64, text: &str) -> Line {
        Line { at, generation: Generation(1), stream: Stream::Stdout, text: text.to_owned() }
    }

    #[test]
    fn the_last_lines_of_all_are_the_newest_of_each() {
        let mut past = Past::new(3);
        past.add(0, vec![line(1, "a"), line(4, "b"), line(6, "c")]);
        past.add(1, vec![line(2, "d"), line(5, "e")]);
        let told: Vec<_> = past.lines.iter().map(|(index, line)| (*index, line.at)).collect();
        assert_eq!(told, [(0, 4), (1, 5), (0, 6)]);
    }

    #[test]
    fn what_is_kept_in_memory_is_limited() {
        let mut past = Past::new(10_000);
        let long = "x".repeat(1024 * 1024);
        past.add(0, (0..20).map(|at| line(at, &long)).collect());
        assert_eq!(past.lines.len(), 16);
        assert_eq!(past.lines.last().map(|(_, line)| line.at), Some(19));
    }
}
