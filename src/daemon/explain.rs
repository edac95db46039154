//! Why an instance is as it is, in words. Pure.

use std::time::{Duration, Instant};

use crate::{
    api::explain::{CheckStatus, ProbeAnswer},
    config::{Check, Service, Sign, Thresholds},
    instance::{Answer, Chart, Phase, Question, View},
};

/// Why an instance is in its phase.
pub(super) fn why(view: &View, service: &Service, chart: &Chart, now: Instant) -> String {
    let death = view.death.as_ref();
    let last = |question| {
        let answer = chart.answers(question).next_back();
        answer.filter(|answer| Some(answer.generation) == view.generation).map(said)
    };
    match view.phase {
        Phase::Stopped if view.wanted => "its start is due".to_owned(),
        Phase::Stopped => "it is not meant to run".to_owned(),
        Phase::Starting => starting(view, service, last),
        Phase::Ready => match (&service.ready.sign, last(Question::Ready)) {
            (Sign::Alive { after }, _) => format!("it has lived for {}", brief(*after)),
            (Sign::Asked(_), Some(last)) => format!("it says so itself; its last answer: {last}"),
            (Sign::Asked(_), None) => "it has said so itself".to_owned(),
        },
        Phase::Unready => match &view.complaint {
            Some(complaint) => format!(
                "it runs, and is not ready; its last answer: {complaint}; it gets its traffic \
                 back once it has been ready {} times in a row, and is not restarted for this",
                service.ready.thresholds().successes
            ),
            None => "it runs, and has not answered yet whether it is ready".to_owned(),
        },
        Phase::Hung => death.map_or_else(String::new, |death| {
            format!("it {}; the other slot is being started in its place", death.cause)
        }),
        Phase::Backoff => {
            let cause = death.map(|death| death.cause.to_string()).unwrap_or_default();
            let due = view.next_start.map(|at| at.saturating_duration_since(now));
            let due = due.map(|due| format!("; it is started again in {}", brief(due)));
            let restarts = view.restarts;
            format!("it died ({cause}){}; restarts so far: {restarts}", due.unwrap_or_default())
        }
        Phase::Finished => death.map_or_else(
            || "it ended by itself, and its restart policy leaves it at that".to_owned(),
            |death| format!("it {}; its restart policy leaves it at that", death.cause),
        ),
        Phase::Stopping | Phase::Ending => {
            match death.filter(|death| death.generation == view.generation) {
                Some(death) => format!("it is being ended: it {}", death.cause),
                None => "it was told to end, and finishes what it does".to_owned(),
            }
        }
        Phase::Failed => death.map_or_else(
            || "it was given up".to_owned(),
            |death| format!("it was given up after {} restarts: {death}", view.restarts),
        ),
    }
}

fn starting(view: &View, service: &Service, last: impl Fn(Question) -> Option<String>) -> String {
    if view.identity.is_none() {
        return "its process is about to be started".to_owned();
    }
    let question = match service.startup {
        Some(_) => Question::Startup,
        None => Question::Ready,
    };
    let waits = match (question, &service.ready.sign) {
        (Question::Ready, Sign::Alive { after }) => {
            format!("it counts as ready when it has lived for {}", brief(*after))
        }
        (question, _) => {
            let last = last(question).unwrap_or_else(|| "none yet".to_owned());
            format!("it has not passed `{}` yet; its last answer: {last}", question.word())
        }
    };
    format!("{waits}; it has {} for that, from its start", brief(service.ready.deadline))
}

fn said(answer: &Answer) -> String {
    match &answer.verdict {
        Ok(seen) | Err(seen) => seen.clone(),
    }
}

/// What an instance of `service` is asked, and what it answered last.
pub(super) fn checks(service: &Service, chart: &Chart, now: Instant) -> Vec<CheckStatus> {
    let of = |question, check: &Check| {
        let Check { how, interval, timeout, thresholds } = check;
        let Thresholds { successes, failures } = *thresholds;
        CheckStatus {
            question: Question::word(question).to_owned(),
            asks: how.to_string(),
            interval_s: Some(interval.as_secs_f64()),
            timeout_s: Some(timeout.as_secs_f64()),
            successes,
            failures: Some(failures).filter(|failures| *failures != u32::MAX),
            answers: chart.answers(question).rev().map(|answer| shown(answer, now)).collect(),
        }
    };
    let check = |question| match (question, &service.ready.sign) {
        (Question::Startup, _) => service.startup.as_ref().map(|check| of(question, check)),
        (Question::Live, _) => service.live.as_ref().map(|check| of(question, check)),
        (Question::Ready, Sign::Asked(check)) => Some(of(question, check)),
        (Question::Ready, Sign::Alive { after }) => Some(CheckStatus {
            question: question.word().to_owned(),
            asks: format!("lives for {}", brief(*after)),
            interval_s: None,
            timeout_s: None,
            successes: 1,
            failures: None,
            answers: vec![],
        }),
    };
    Question::ALL.into_iter().filter_map(check).collect()
}

fn shown(answer: &Answer, now: Instant) -> ProbeAnswer {
    ProbeAnswer {
        generation: answer.generation.0,
        ago_s: now.saturating_duration_since(answer.at).as_secs_f64(),
        took_ms: answer.took.as_secs_f64() * 1e3,
        ok: answer.verdict.is_ok(),
        said: said(answer),
    }
}

/// To a tenth of a second.
fn brief(time: Duration) -> String {
    let tenths =
        Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / 100 * 100);
    format!("{:?}", if tenths.is_zero() { time } else { tenths })
}
