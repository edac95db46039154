//! `rollout.canary` of a service: by which shares of the requests a new release comes in.

use std::fmt;

use super::{
    UpstreamOptions,
    mistake::{Position, Wrong},
    scalar,
    section::Section,
    tree::{Node, Value},
};

/// A part of the requests, in percent: neither none of them nor all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u8);

impl Share {
    /// From here on it is no smaller part any more.
    pub const HALF: Self = Self(50);

    /// `percent`, if that is a part.
    #[must_use]
    pub const fn new(percent: u8) -> Option<Self> {
        match percent {
            1..=99 => Some(Self(percent)),
            _ => None,
        }
    }

    /// In percent.
    #[must_use]
    pub const fn percent(self) -> u8 {
        self.0
    }

    /// What it leaves.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(100 - self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// What a service has to be for its requests to be shared out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grounds<'a> {
    /// How many slots it has.
    pub(super) ports: usize,
    /// How it stands behind nginx.
    pub(super) front: Front<'a>,
}

/// How a service stands behind nginx.
#[derive(Debug, Clone, Copy)]
pub(super) enum Front<'a> {
    /// So.
    Behind(&'a UpstreamOptions),
    /// Not at all.
    Beside,
    /// What is said of it is wrong.
    Unknown,
}

const KEY: &str = "canary";

/// Reads it; without the key there are no such stages.
pub(super) fn canary(s: &mut Section<'_>, grounds: Grounds<'_>) -> Vec<Share> {
    let Some(shares) = s.list(KEY, share) else { return vec![] };
    if let Some(wrong) = groundless(grounds) {
        s.complain(KEY, wrong);
    } else if s.sound() && shares.is_empty() {
        s.complain(KEY, Wrong::new("names no share").instead("write [5%, 25%, 50%], or remove it"));
    }
    for (at, wrong) in falling(&shares) {
        s.complain_at(at, KEY, wrong);
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

/// Why weights would mean nothing.
fn groundless(grounds: Grounds<'_>) -> Option<Wrong> {
    match grounds.front {
        Front::Beside => Some(
            Wrong::new("shares are what nginx gives, and the service is not behind it")
                .instead("remove it"),
        ),
        _ if grounds.ports != 2 => Some(
            Wrong::new("requests are shared out between two slots")
                .instead("give the service two `slots`, or remove it"),
        ),
        Front::Behind(options) if options.least_conn => Some(
            Wrong::new(
                "with `upstream.least_conn` the next request goes to a slot that has none in hand, \
                 however small its share is",
            )
            .instead("remove one of the two"),
        ),
        Front::Behind(_) | Front::Unknown => None,
    }
}

fn falling(shares: &[(Position, Share)]) -> Vec<(Position, Wrong)> {
    let pairs = shares.iter().zip(shares.iter().skip(1));
    let wrong = |((_, before), (at, share)): (&(Position, Share), &(Position, Share))| {
        let wrong = Wrong::new(format!("{share} is not more than {before}, which comes before"));
        (share <= before).then(|| (*at, wrong.instead("write them from the least to the most")))
    };
    pairs.filter_map(wrong).collect()
}

fn share(node: &Node) -> Result<Share, Wrong> {
    let example = "write for example 5%";
    let text = match &node.value {
        Value::Text(text) => text,
        Value::Int(number @ 1..=99) => {
            return Err(
                Wrong::new(format!("{number} has no unit")).instead(format!("write {number}%"))
            );
        }
        _ => return Err(scalar::expected("a share", node).instead(example)),
    };
    let wrong = || Wrong::new(format!("`{}` is not a share", scalar::shown(text))).instead(example);
    let number: i64 = text.strip_suffix('%').and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
    u8::try_from(number).ok().and_then(Share::new).ok_or_else(|| {
        Wrong::new(format!("{number}% is out of range"))
            .instead("use 1% to 99%; all of them come last anyway")
    })
}
