//! What clients saw of a rollout, as the control socket says it. Pure.

use crate::{
    api::types::{RequestCount, Requests},
    nginx::Count,
    rollout::clients::{Clients, Seen},
};

/// None while it goes on, and where no client comes through nginx.
pub(super) fn requests(clients: &Clients) -> Option<Requests> {
    match clients {
        Clients::Unasked | Clients::Since(_) => None,
        Clients::Uncounted(why) => Some(Requests::Uncounted(why.clone())),
        Clients::Counted(Seen { before, during, after }) => Some(Requests::Counted {
            meanwhile: together(during, after),
            before: count(before),
            during: count(during),
            after: count(after),
        }),
    }
}

fn together(during: &Count, after: &Count) -> RequestCount {
    RequestCount {
        requests: during.requests + after.requests,
        failed: during.failed + after.failed,
        retried: during.retried + after.retried,
        unfinished: during.unfinished + after.unfinished,
        p50_ms: None,
        p99_ms: None,
        longest_gap_ms: during.longest_gap_ms.max(after.longest_gap_ms),
    }
}

fn count(count: &Count) -> RequestCount {
    let Count { requests, failed, retried, unfinished, p50_ms, p99_ms, longest_gap_ms } = *count;
    RequestCount { requests, failed, retried, unfinished, p50_ms, p99_ms, longest_gap_ms }
}
