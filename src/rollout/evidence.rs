//! The watch of a rollout: probes and deaths, and what clients got from the new colour and the old.

use std::time::{Duration, Instant};

use super::{
    clients::{self, Clients},
    effects::{Crew, Result},
    judge::{self, Answers, Evidence},
    record::{Rollout, Step},
};
use crate::{
    config::Judge,
    ident::{InstanceId, Port, Slot},
    nginx::{Logged, Mark, Nginx, Side, Whose},
};

/// Between two looks at the log.
const PAUSE: Duration = Duration::from_secs(1);
/// Reading the log may take no more than one part in so many of the time.
const SHARE: u32 = 20;

/// From when on an instance is the new one, until when the old one, in milliseconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Colours {
    new: Vec<(Port, u64)>,
    old: Vec<(Port, u64)>,
}

impl Colours {
    /// Of `watched`, by the steps of `rollout` so far.
    fn of(rollout: &Rollout, watched: &[Slot]) -> Self {
        let steps = || rollout.steps.iter();
        let about = |step: &Step, slot: Slot| match step {
            Step::Start { slot: other, .. } | Step::Replace { slot: other, .. } => *other == slot,
            _ => false,
        };
        let new = |slot: &Slot| {
            let started = steps().rev().find(|taken| about(&taken.step, *slot));
            // What was warm is new to clients.
            let published = || steps().find(|taken| matches!(taken.step, Step::Publish { .. }));
            let since = match started {
                Some(taken) => Some(taken),
                None if rollout.served.contains(slot) => None,
                None => published(),
            }?;
            // In a replacement the old answers until its end.
            let lasted = match since.step {
                Step::Replace { .. } => since.took_ms.unwrap_or(0),
                _ => 0,
            };
            Some((slot.port()?, clients::millis(since.begun).saturating_add(lasted)))
        };
        let old = |slot: &Slot| {
            let gone = steps().find(|taken| {
                about(&taken.step, *slot) || taken.step == Step::Stop { slot: *slot }
            });
            Some((slot.port()?, gone.map_or(u64::MAX, |taken| clients::millis(taken.begun))))
        };
        Self {
            new: watched.iter().filter_map(new).collect(),
            old: rollout.served.iter().filter_map(old).collect(),
        }
    }

    fn slots(&self) -> Vec<Port> {
        let mut slots: Vec<Port> =
            self.new.iter().chain(&self.old).map(|(port, _)| *port).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

/// The answers of both, in the making.
#[derive(Clone)]
struct Compared {
    whose: Whose,
    slots: Vec<Port>,
    colours: Colours,
    new: Vec<(Port, Answers)>,
    old: Answers,
}

impl Compared {
    fn new(whose: Whose, colours: Colours) -> Self {
        let new = colours.new.iter().map(|(port, _)| (*port, Answers::default())).collect();
        Self { whose, slots: colours.slots(), colours, new, old: Answers::default() }
    }

    fn add(&mut self, side: Side, logged: &Logged<'_>) {
        let asked = self.whose.asked(logged, &self.slots).unwrap_or_default();
        for (port, tried) in asked {
            let is = |(of, _): &&(Port, u64)| *of == port;
            let since = self.colours.new.iter().find(is).map(|(_, since)| *since);
            let until = self.colours.old.iter().find(is).map(|(_, until)| *until);
            if side == Side::Since && since.is_some_and(|since| logged.at_ms >= since) {
                let answers = self.new.iter_mut().find(|(of, _)| *of == port);
                if let Some((_, answers)) = answers {
                    answers.add(tried);
                }
            } else if until.is_some_and(|until| logged.at_ms < until) {
                self.old.add(tried);
            }
        }
    }
}

/// What is judged, and by what.
struct Trial<'a> {
    nginx: &'a Nginx,
    whose: Whose,
    mark: Mark,
    from_ms: u64,
    colours: Colours,
    by: Judge,
    /// Up to a place in the log; the next look has only what comes after it.
    seen: Option<(Compared, Mark)>,
}

impl Trial<'_> {
    /// `None` where the log does not tell any more.
    async fn look(&mut self) -> Option<Compared> {
        let anew = || (Compared::new(self.whose.clone(), self.colours.clone()), self.mark);
        let earlier = self.seen.is_none().then_some(self.from_ms);
        let (compared, mark) = self.seen.clone().unwrap_or_else(anew);
        let read = self.nginx.requests_since(mark, earlier, compared, Compared::add).await;
        let (compared, next) =
            read.inspect_err(|e| tracing::warn!("requests are not judged: {e}")).ok()?;
        self.seen = next.map(|next| (compared.clone(), next));
        Some(compared)
    }

    /// The first of the new ones that `judged` finds worse, with the evidence.
    fn worse(
        &self,
        seen: &Compared,
        judged: fn(&Answers, &Answers, &Judge) -> Option<Evidence>,
    ) -> Option<(Port, Evidence)> {
        seen.new.iter().find_map(|(port, new)| Some((*port, judged(new, &seen.old, &self.by)?)))
    }

    /// Never returns but with failures that tell against the new colour.
    async fn failing(&mut self) -> (Port, Evidence) {
        let mut pause = PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            let Some(seen) = self.look().await else { std::future::pending().await };
            if let Some(found) = self.worse(&seen, judge::failing) {
                return found;
            }
            pause = PAUSE.max(begun.elapsed() * SHARE);
        }
    }
}

impl Crew {
    /// Watches `slots` as long as the operator wants it; the first trouble ends it.
    pub(super) async fn watch(&self, slots: &[Slot], rollout: &Rollout) -> Result {
        let Some(mut trial) = self.trial(slots, rollout) else {
            return tokio::time::timeout(self.service.rollout.watch, self.probed(slots))
                .await
                .unwrap_or(Ok(None));
        };
        let name =
            |port: &Port| InstanceId::new(self.service.name.clone(), Slot::Port(*port)).to_string();
        let old: Vec<String> = trial.colours.old.iter().map(|(port, _)| name(port)).collect();
        let told = |(port, evidence): (Port, Evidence)| {
            let old = if old == [name(&port)] { "it before".to_owned() } else { old.join(" and ") };
            Err(format!("while watched, {}", evidence.told(&name(&port), &old)))
        };
        tokio::select! {
            biased;
            trouble = self.probed(slots) => return trouble,
            found = trial.failing() => return told(found),
            () = tokio::time::sleep(self.service.rollout.watch) => {}
        }
        let Some(seen) = trial.look().await else { return Ok(None) };
        let failing = trial.worse(&seen, judge::failing);
        // Past the point of no return, slow answers are better than an end in the middle.
        let slow = || rollout.can_turn_back().then(|| trial.worse(&seen, judge::slow)).flatten();
        match failing.or_else(slow) {
            Some(found) => told(found),
            None => Ok(Some(passed(&seen, &trial.by))),
        }
    }

    /// `None` where there is nothing to judge by, or no time for it.
    fn trial(&self, slots: &[Slot], rollout: &Rollout) -> Option<Trial<'_>> {
        if self.service.rollout.watch.is_zero() {
            return None;
        }
        let (Clients::Since(mark), Some(by)) = (&rollout.clients, self.service.rollout.judge)
        else {
            return None;
        };
        let nginx = self.nginx.as_deref()?;
        Some(Trial {
            nginx,
            whose: nginx.whose(&self.service.name)?,
            mark: *mark,
            from_ms: clients::from_ms(rollout),
            colours: Colours::of(rollout, slots),
            by,
            seen: None,
        })
    }
}

/// `61 requests, 0 answered 5xx`.
fn passed(seen: &Compared, by: &Judge) -> String {
    let requests: u64 = seen.new.iter().map(|(_, answers)| answers.requests).sum();
    let failed: u64 = seen.new.iter().map(|(_, answers)| answers.failed).sum();
    if seen.new.iter().all(|(_, new)| judge::is_enough(new, &seen.old, by)) {
        format!("{failed} of {requests} requests answered 5xx")
    } else {
        format!("{requests} requests, too few to judge by")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        ident::RolloutId,
        nginx::{Members, Try},
        release::Release,
        rollout::{
            draft::Draft,
            plan_tests::begun,
            record::{Kind, Loss, Stage, Taken},
        },
    };

    /// Ports, each with milliseconds.
    type Moments = Vec<(u16, u64)>;

    const SECOND: i64 = 1_000_000;

    fn slot(port: u16) -> Slot {
        Slot::Port(Port::new(port).unwrap())
    }

    /// A rollout while 8000 serves, with these steps, one each second, half a second long.
    fn after(steps: Vec<Step>) -> Rollout {
        let served = BTreeSet::from([slot(8000)]);
        let (origin, stages) = (Stage::default(), vec![]);
        let draft =
            Draft { release: None, loss: Loss::Never, origin, served, stages, preview: None };
        let mut rollout = begun(RolloutId(1), Kind::Rolling, None, draft);
        let taken = |(at, step)| Taken {
            step,
            begun: at * SECOND,
            took_ms: Some(500),
            note: None,
            left: None,
            cut: 0,
            failed: false,
        };
        rollout.steps = (1..).zip(steps).map(taken).collect();
        rollout
    }

    fn start(port: u16) -> Step {
        Step::Start { slot: slot(port), release: Release::unversioned("/".as_ref()) }
    }

    fn publish() -> Step {
        Step::Publish { members: Members::new() }
    }

    fn colours(rollout: &Rollout, watched: &[u16]) -> (Moments, Moments) {
        let watched: Vec<Slot> = watched.iter().map(|port| slot(*port)).collect();
        let Colours { new, old } = Colours::of(rollout, &watched);
        let plain = |of: Vec<(Port, u64)>| of.into_iter().map(|(p, at)| (p.get(), at)).collect();
        (plain(new), plain(old))
    }

    #[test]
    fn an_instance_is_the_old_one_until_it_is_started_anew() {
        let first = after(vec![start(8001), publish()]);
        assert_eq!(colours(&first, &[8001]), (vec![(8001, 1_000)], vec![(8000, u64::MAX)]));
        let second = after(vec![
            start(8001),
            publish(),
            publish(),
            Step::Stop { slot: slot(8000) },
            start(8000),
            publish(),
        ]);
        let (new, old) = colours(&second, &[8000, 8001]);
        assert_eq!((new, old), (vec![(8000, 5_000), (8001, 1_000)], vec![(8000, 4_000)]));
    }

    #[test]
    fn what_was_warm_is_new_once_it_is_published() {
        let swap = after(vec![publish()]);
        assert_eq!(colours(&swap, &[8001]), (vec![(8001, 1_000)], vec![(8000, u64::MAX)]));
    }

    #[test]
    fn in_a_replacement_the_old_answers_to_its_end() {
        let release = Release::unversioned("/".as_ref());
        let start = crate::rollout::record::Start::Fresh;
        let rollout = after(vec![Step::Replace { slot: slot(8000), release, start }]);
        assert_eq!(colours(&rollout, &[8000]), (vec![(8000, 1_500)], vec![(8000, 1_000)]));
    }

    #[test]
    fn each_answer_is_one_of_the_instance_that_gave_it() {
        let colours = Colours::of(&after(vec![start(8001), publish()]), &[slot(8001)]);
        let whose = Whose::at("api_backend".parse().unwrap(), [127, 0, 0, 1].into());
        let mut compared = Compared::new(whose, colours);
        let one = |to, status| Try { to, status: Some(status), took_ms: Some(5) };
        let mut add = |side, at_ms, tries: &[Try<'_>]| {
            let tries = tries.to_vec();
            compared.add(side, &Logged { at_ms, status: 200, took_ms: 5, whole: true, tries });
        };
        let (blue, green) = (one("127.0.0.1:8000", 200), one("127.0.0.1:8001", 200));
        add(Side::Before, 500, &[blue]);
        add(Side::Before, 500, &[green]);
        add(Side::Since, 2_000, &[one("127.0.0.1:8001", 502), blue]);
        add(Side::Since, 2_100, &[green]);
        add(Side::Since, 2_200, &[one("127.0.0.1:9000", 500)]);
        let new = &compared.new.first().unwrap().1;
        assert_eq!((new.requests, new.failed), (2, 1));
        assert_eq!((compared.old.requests, compared.old.failed), (2, 0));
    }
}
