//! What clients saw of a rollout, in a few lines.

use std::{fmt::Write as _, time::Duration};

use super::{
    layout::hanging,
    look::{self, Look},
    time,
};
use crate::api::types::{RequestCount, Requests, Rollout};

/// What was counted, or that nothing was; empty where no client comes through nginx.
pub(super) fn told(rollout: &Rollout, look: Look) -> String {
    match &rollout.requests {
        None => String::new(),
        Some(Requests::Uncounted(why)) => {
            hanging("", &format!("requests were not counted: {why}"), look.width)
        }
        Some(Requests::Counted { meanwhile: RequestCount { requests: 0, .. }, .. }) => {
            "no request came through nginx meanwhile, by its own log\n".to_owned()
        }
        Some(Requests::Counted { meanwhile, before, during, after }) => {
            let mut text = counted(meanwhile, before, look);
            let parts = [("before", before), ("during", during), ("after", after)];
            let waits: Vec<String> = parts.iter().filter_map(|(when, n)| wait(when, n)).collect();
            let _ = writeln!(text, "p50 and p99: {}", waits.join(", "));
            text
        }
    }
}

/// `0 of 18,214 requests failed, 3 retried by nginx, longest gap 0.2 s`.
fn counted(meanwhile: &RequestCount, before: &RequestCount, look: Look) -> String {
    let failed = grouped(meanwhile.failed);
    let mut rest = format!(" of {} requests failed", grouped(meanwhile.requests));
    if meanwhile.failed > 0 {
        let (failed, of) = (grouped(before.failed), grouped(before.requests));
        let _ = write!(rest, " ({failed} of {of} in the minute before)");
    }
    let kinds = [
        (meanwhile.retried, "retried by nginx"),
        (meanwhile.unfinished, "not answered to the end"),
    ];
    for (many, what) in kinds.into_iter().filter(|(many, _)| *many > 0) {
        let _ = write!(rest, ", {} {what}", grouped(many));
    }
    let gap = Duration::from_millis(meanwhile.longest_gap_ms).as_secs_f64();
    let _ = write!(rest, ", longest gap {}", time::took(gap));
    let style = if meanwhile.failed == 0 { look::GOOD } else { look::BAD };
    let text = hanging("", &format!("{failed}{rest}"), look.width);
    text.replacen(&failed, &look.paint(style, &failed), 1)
}

/// `before 5 and 12 ms`.
fn wait(when: &str, count: &RequestCount) -> Option<String> {
    let (p50, p99) = (u64::from(count.p50_ms?), u64::from(count.p99_ms?));
    Some(format!("{when} {} and {} ms", grouped(p50), grouped(p99)))
}

/// `18,214`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let comma = |(n, digit): (usize, char)| {
        let comma = n > 0 && n % 3 == first;
        comma.then_some(',').into_iter().chain([digit]).collect::<Vec<_>>()
    };
    digits.chars().enumerate().flat_map(comma).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    fn count(requests: u64, p50_ms: u32) -> RequestCount {
        let (p50_ms, p99_ms) = (Some(p50_ms), Some(p50_ms * 3));
        RequestCount { requests, p50_ms, p99_ms, longest_gap_ms: 212, ..Default::default() }
    }

    fn text(requests: Requests) -> String {
        told(&Rollout { requests: Some(requests), ..samples::done_rolling() }, Look::PAGE)
    }

    #[test]
    fn what_was_counted_fits_on_a_few_lines() {
        let mut meanwhile = count(18_214, 5);
        let (before, during, after) = (count(1_000_000, 5), count(18_000, 1_240), count(214, 6));
        let fine = text(Requests::Counted { meanwhile, before, during, after });
        insta::assert_snapshot!(fine);
        (meanwhile.failed, meanwhile.retried, meanwhile.unfinished) = (1_204, 17, 3);
        let bad = text(Requests::Counted { meanwhile, before, during, after: count(0, 6) });
        insta::assert_snapshot!("bad", bad);
        assert!(bad.lines().chain(fine.lines()).all(|line| line.chars().count() <= 80), "{bad}");
    }

    #[test]
    fn what_was_not_counted_is_not_said() {
        let none = RequestCount::default();
        let idle =
            Requests::Counted { meanwhile: none, before: count(9, 5), during: none, after: none };
        assert_eq!(text(idle), "no request came through nginx meanwhile, by its own log\n");
        let uncounted = text(Requests::Uncounted("the disk of /var/log is full".into()));
        assert_eq!(uncounted, "requests were not counted: the disk of /var/log is full\n");
        assert_eq!(told(&samples::done_rolling(), Look::PAGE), "");
    }

    #[test]
    fn long_numbers_are_grouped() {
        let shown = [0, 999, 1_000, 18_214, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "18,214", "1,234,567"]);
    }
}
