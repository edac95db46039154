//! Which nginx this is, and whether it knows the directives that were asked for.

use std::fmt;

use crate::config::UpstreamOptions;

/// A version of nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A directive that an nginx does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsupported {
    /// The directive.
    pub directive: &'static str,
    /// The first version that knows it (nginx.org, `ngx_http_upstream_module`).
    pub since: Version,
    /// What the operator can do.
    pub remedy: &'static str,
}

/// `zone` in an upstream.
const ZONE: Unsupported = Unsupported {
    directive: "`zone` in an upstream",
    since: Version(1, 9, 0),
    remedy: "remove `zone` from the service's upstream, or upgrade nginx",
};

/// `keepalive_timeout` in an upstream; without it nginx reuses connections for as long as the
/// application keeps them, which loses requests when it stops.
const KEEPALIVE_TIMEOUT: Unsupported = Unsupported {
    directive: "`keepalive_timeout` in an upstream",
    since: Version(1, 15, 3),
    remedy: "set `keepalive: 0` in the service's upstream, or upgrade nginx",
};

impl Version {
    /// Reads what `nginx -v` prints: `nginx version: nginx/1.22.1 (Ubuntu)`. Relatives that count
    /// like nginx (`openresty/1.25.3.1`) are understood too.
    pub(super) fn parse(words: &str) -> Option<Self> {
        let (_, tail) = words.lines().next()?.split_once("version:")?;
        let (_, number) = tail.split_once('/')?;
        let digits = number.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = digits.split('.').map(str::parse::<u32>);
        let mut next = || parts.next()?.ok();
        Some(Self(next()?, next()?, next().unwrap_or(0)))
    }

    /// The first thing in `options` that this version does not know.
    pub(super) fn lacks(self, options: &UpstreamOptions) -> Option<Unsupported> {
        let asked =
            [(options.zone_kib.is_some(), ZONE), (options.keepalive > 0, KEEPALIVE_TIMEOUT)];
        asked.into_iter().find(|(asked, what)| *asked && self < what.since).map(|(_, what)| what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_nginx_prints() {
        for (words, version) in [
            ("nginx version: nginx/1.22.1\n", Some(Version(1, 22, 1))),
            ("nginx version: nginx/1.18.0 (Ubuntu)", Some(Version(1, 18, 0))),
            ("nginx version: openresty/1.25.3.1", Some(Version(1, 25, 3))),
            ("nginx version: nginx/1.31.0-dev", Some(Version(1, 31, 0))),
            ("bash: no such file", None),
            ("nginx version: nginx/x", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(words), version, "{words:?}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(Version(1, 9, 15) < Version(1, 15, 3));
        assert!(Version(1, 15, 3) >= KEEPALIVE_TIMEOUT.since);
    }
}
