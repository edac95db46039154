//! Who runs the processes of an `app`, and who listens for them.

use super::{
    mistake::Wrong,
    scalar::{self, whole},
    section::Section,
    tree::Value,
};

/// The processes that one instance is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    /// How many accept connections.
    pub count: u16,
    /// Whose children they are.
    pub by: By,
}

/// Whose children workers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// uvicorn's, under a parent process of its own (`--workers`).
    Uvicorn,
    /// The daemon's: each is watched and restarted alone. Only on a [`Socket::Held`].
    Aibkd,
}

/// Whose the listening socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// The instance's.
    Own,
    /// The daemon's, who passes it on: connections wait while nobody accepts.
    Held,
}

const COUNT: std::ops::RangeInclusive<i64> = 1..=512;

/// Reads `socket` and `workers`: a number, or how many by whom.
pub(super) fn workers(s: &mut Section<'_>) -> (Socket, Workers) {
    let words = &[("own", Socket::Own), ("held", Socket::Held)];
    let socket = s.or("socket", Socket::Own, scalar::one_of(words));
    let is_map = s.node("workers").is_some_and(|node| matches!(node.value, Value::Map(_)));
    let workers = if is_map {
        s.section("workers", |s| {
            let words = &[("aibkd", By::Aibkd), ("uvicorn", By::Uvicorn)];
            let count = s.or("count", 1, whole(COUNT));
            Workers { count, by: s.or("by", By::Aibkd, scalar::one_of(words)) }
        })
    } else {
        Workers { count: s.or("workers", 1, whole(COUNT)), by: By::Uvicorn }
    };
    if workers.by == By::Aibkd && socket == Socket::Own && s.sound() {
        let wrong = Wrong::new("are run by aibkd only where it also holds the socket");
        s.complain("workers", wrong.instead("add `socket: held`, or write `by: uvicorn`"));
    }
    (socket, workers)
}
