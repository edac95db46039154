//! `rollout.judge` of a service: how much worse than the old colour the new one may be.

use super::{
    mistake::Wrong,
    scalar,
    section::Section,
    tree::{Node, Value},
};

/// How much worse than the old colour the new one may be while it is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    /// Requests that both must have answered before they are compared.
    pub min_requests: u64,
    /// How much larger the share of 5xx among its answers may be, in percent of all.
    pub max_5xx: u32,
    /// How many times as long it may take to answer.
    pub max_slowdown: u32,
}

/// Reads it; `none` judges nothing.
pub(super) fn judge(s: &mut Section<'_>) -> Option<Judge> {
    const KEY: &str = "judge";
    match s.node(KEY).map(|node| &node.value) {
        Some(Value::Text(word)) if word == "none" => None,
        Some(Value::Text(word)) => {
            let wrong = Wrong::new("expected a mapping or `none`").like(word, ["none"]);
            s.complain(KEY, wrong);
            None
        }
        _ => Some(s.section(KEY, |s| Judge {
            min_requests: s.or("min_requests", 20, scalar::whole(1..=1_000_000)),
            max_5xx: s.or("max_5xx", 5, percent),
            max_slowdown: s.or("max_slowdown", 3, scalar::whole(1..=100)),
        })),
    }
}

/// `5%`, of a whole.
fn percent(node: &Node) -> Result<u32, Wrong> {
    let wrong = || Wrong::new("expected a share").instead("write for example 5%");
    let Value::Text(text) = &node.value else { return Err(wrong()) };
    let number = text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
    number.filter(|number| *number <= 100).ok_or_else(wrong)
}
