//! The page of one instance: why it is in its state, and what it was asked. Pure.

use crate::{
    api::explain::{CheckStatus, Explanation, ProbeAnswer},
    cli::{
        layout::{Cell, Column, Fit, hanging, harmless, table},
        look::{self, Look},
        time,
    },
};

const COLUMNS: [Column; 4] = [
    Column("AGO", Fit::Number),
    Column("TOOK", Fit::Number),
    Column("GEN", Fit::Number),
    Column("ANSWER", Fit::Whole),
];

/// The whole page.
pub(super) fn page(told: &Explanation, look: Look) -> String {
    let instance = &told.instance;
    let state = super::page::state_name(instance.state);
    let mut head = vec![
        look.paint(look::of_state(instance.state), state) + &format!(" for {}", age(told.since_s)),
    ];
    head.extend(instance.traffic.map(|traffic| super::page::traffic_name(traffic).to_owned()));
    head.extend(instance.release.as_ref().map(|release| format!("release {}", harmless(release))));
    head.extend(instance.generation.map(|generation| format!("generation {generation}")));
    head.extend(instance.pid.map(|pid| format!("pid {pid}")));
    let name = look.paint(look::STRONG, &instance.name);
    let mut text = format!("{name}  {}\n", head.join(", "));
    text.push_str(&hanging("  ", &told.why, look.width));
    for check in &told.checks {
        text.push('\n');
        text.push_str(&of_check(check, look));
    }
    text
}

fn of_check(check: &CheckStatus, look: Look) -> String {
    let mut text = hanging("", &format!("{}  {}", check.question, pace(check)), look.width);
    if look.ink == look::Ink::Colour {
        text = text.replacen(&check.question, &look.paint(look::STRONG, &check.question), 1);
    }
    text.push_str(&hanging("  ", &check.asks, look.width));
    if !check.answers.is_empty() {
        let rows: Vec<Vec<Cell>> =
            check.answers.iter().map(|answer| row(answer, look.width)).collect();
        text.push_str(&table(&COLUMNS, &rows, look));
    }
    text
}

fn pace(check: &CheckStatus) -> String {
    let every = check.interval_s.map(|every| format!("every {} ", time::took(every)));
    let within = check.timeout_s.map(|within| format!("within {}; ", time::took(within)));
    let parts = [every, within].into_iter().flatten().collect::<String>();
    let failures = check.failures.map(|failures| format!(", {failures} no"));
    format!("{parts}{} yes{} in a row count", check.successes, failures.unwrap_or_default())
}

/// What a row takes besides the answer.
const BESIDE: usize = 24;

fn row(answer: &ProbeAnswer, width: usize) -> Vec<Cell> {
    let style = if answer.ok { look::GOOD } else { look::BAD };
    let room = width.saturating_sub(BESIDE).max(20);
    let said: String = harmless(&answer.said).chars().take(room).collect();
    vec![
        Cell::plain(&age(answer.ago_s)),
        Cell::plain(&took(answer.took_ms)),
        Cell::plain(&answer.generation),
        Cell::styled(&said, style),
    ]
}

fn age(seconds: f64) -> String {
    if seconds < 9.95 { format!("{seconds:.1}s") } else { time::age(seconds) }
}

fn took(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.1} ms") } else { time::took(ms / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::types::{InstanceState, Traffic},
        cli::{look::visible, samples},
    };

    fn answer(ago_s: f64, took_ms: f64, said: Result<&str, &str>) -> ProbeAnswer {
        let (Ok(text) | Err(text)) = said;
        ProbeAnswer { generation: 14, ago_s, took_ms, ok: said.is_ok(), said: text.to_owned() }
    }

    fn told() -> Explanation {
        let mut instance = samples::all_fine().services.remove(1).instances.remove(0);
        instance.state = InstanceState::Unready;
        instance.traffic = Some(Traffic::Serving);
        Explanation {
            instance,
            since_s: 61.0,
            why: "it runs, and is not ready; its last answer: answered 503 Service Unavailable; \
                  it gets its traffic back once it has been ready 2 times in a row"
                .to_owned(),
            checks: vec![
                CheckStatus {
                    question: "startup".into(),
                    asks: "command pg_isready -p 8000".into(),
                    interval_s: Some(0.2),
                    timeout_s: Some(2.0),
                    successes: 1,
                    failures: None,
                    answers: vec![],
                },
                CheckStatus {
                    question: "ready".into(),
                    asks: "GET /ready: 200-299, x-ready: yes, \"ok\" in its body".into(),
                    interval_s: Some(5.0),
                    timeout_s: Some(2.0),
                    successes: 2,
                    failures: Some(3),
                    answers: vec![
                        answer(0.81, 3.21, Err("answered 503 Service Unavailable")),
                        answer(5.8, 2000.4, Err("no answer in 2s")),
                        answer(3700.0, 0.4, Ok("answered 200 OK")),
                    ],
                },
            ],
        }
    }

    #[test]
    fn an_instance_is_explained_on_one_page() {
        let text = page(&told(), Look::PAGE);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text);
        insta::assert_snapshot!("coloured_explanation", visible(&page(&told(), Look::COLOURED)));
    }
}
