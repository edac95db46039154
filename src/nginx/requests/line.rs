//! What nginx writes about one request, and reading it back. Pure.

/// The format of a line, as nginx's `log_format` has it: when, what the client got and how long
/// that took, and whom nginx asked for it. Neither address nor URL of anybody is in it. The bar at
/// its end tells a whole line from one that a full disk has cut. All of these variables are older
/// than nginx 1.8 (nginx.org, `ngx_http_log_module`, `ngx_http_core_module`,
/// `ngx_http_upstream_module`).
pub(in crate::nginx) const FORMAT: &str = "$msec|$status|$request_time|$request_completion|\
                                           $upstream_addr|$upstream_status|$upstream_header_time|";

/// One request that nginx passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged<'l> {
    /// When it ended, in milliseconds since the epoch, by nginx's clock.
    pub at_ms: u64,
    /// What the client got; 499 where it left before, 0 where that is not known.
    pub status: u16,
    /// Milliseconds from its first byte to the last of the answer.
    pub took_ms: u32,
    /// The answer was sent to its end.
    pub whole: bool,
    /// Whom nginx asked, in order.
    pub tries: Vec<Try<'l>>,
}

/// One server that nginx asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try<'l> {
    /// Its address; the name of the upstream where there was no server left to ask.
    pub to: &'l str,
    /// What it answered; 502 and 504 also stand for no answer.
    pub status: Option<u16>,
    /// Milliseconds until it answered.
    pub took_ms: Option<u32>,
}

impl<'l> Logged<'l> {
    /// Reads `line`, without its end; `None` when it is not one of ours, or not a whole one.
    #[must_use]
    pub fn read(line: &'l str) -> Option<Self> {
        let mut fields = line.split('|');
        let mut next = || fields.next();
        let at_ms = u64::try_from(millis(next()?)?).ok()?;
        let status = next()?.parse().ok()?;
        let took_ms = millis(next()?)?;
        let whole = match next()? {
            "OK" => true,
            "" | "-" => false,
            _ => return None,
        };
        let (to, statuses, times) = (next()?, next()?, next()?);
        if !next()?.is_empty() || next().is_some() || to.is_empty() {
            return None;
        }
        let (mut statuses, mut times) = (each(statuses), each(times));
        let tries = each(to).map(|to| Try {
            to,
            status: statuses.next().and_then(|status| status.parse().ok()),
            took_ms: times.next().and_then(|time| u32::try_from(millis(time)?).ok()),
        });
        let tries = tries.collect();
        Some(Self { at_ms, status, took_ms: u32::try_from(took_ms).ok()?, whole, tries })
    }
}

/// `a, b : c`: a colon stands where nginx went on to another group, at the word of an answer
/// (`X-Accel-Redirect`).
fn each(list: &str) -> impl Iterator<Item = &str> {
    list.split(", ").flat_map(|group| group.split(" : "))
}

/// `12.345` seconds.
fn millis(seconds: &str) -> Option<i64> {
    let (whole, part) = seconds.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || part.len() != 3 || !digits(part) {
        return None;
    }
    whole.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(part.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "1795543997.160|200|0.005|OK|127.0.0.1:8000|200|0.004|";

    #[test]
    fn a_line_reads_back() {
        let read = Logged::read(LINE).unwrap();
        let one = Try { to: "127.0.0.1:8000", status: Some(200), took_ms: Some(4) };
        assert_eq!((read.at_ms, read.status, read.took_ms), (1_795_543_997_160, 200, 5));
        assert!(read.whole);
        assert_eq!(read.tries, [one]);
    }

    #[test]
    fn every_server_that_was_asked_is_told_apart() {
        let line = "1795543999.035|502|0.000||[::1]:8000, 127.0.0.1:8001 : api_backend|502, 504 : -|-, 1.250 : -|";
        let read = Logged::read(line).unwrap();
        assert!(!read.whole);
        let tried = |to, status, took_ms| Try { to, status, took_ms };
        assert_eq!(
            read.tries,
            [
                tried("[::1]:8000", Some(502), None),
                tried("127.0.0.1:8001", Some(504), Some(1250)),
                tried("api_backend", None, None),
            ]
        );
    }

    #[test]
    fn odd_lines_are_none_of_ours() {
        let cut = (0..LINE.len()).filter_map(|at| LINE.get(..at));
        assert!(cut.into_iter().all(|cut| Logged::read(cut).is_none()));
        let stuck_together = format!("{}{LINE}", LINE.get(..20).unwrap());
        assert_eq!(Logged::read(&stuck_together), None);
        for odd in [
            "",
            "|||||||",
            "1795543997.160|200|0.005|OK||200|0.004|",
            "1795543997.160|200|0.005|yes|127.0.0.1:8000|200|0.004|",
            "1795543997.160|abc|0.005|OK|127.0.0.1:8000|200|0.004|",
            "1795543997|200|0.005|OK|127.0.0.1:8000|200|0.004|",
            "-1.160|200|0.005|OK|127.0.0.1:8000|200|0.004|",
            "1795543997.160|200|-0.005|OK|127.0.0.1:8000|200|0.004|",
            "1795543997.160|200|0.005|OK|127.0.0.1:8000|200|0.004|more|",
            "99999999999999999999.160|200|0.005|OK|127.0.0.1:8000|200|0.004|",
            "17955439971795543997.160|200|0.005|OK|127.0.0.1:8000|200|0.004|",
            "127.0.0.1 - - [24/Nov/2026:18:13:14 +0000] \"GET / HTTP/1.1\" 200 2",
        ] {
            assert_eq!(Logged::read(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(line in "\\PC*") {
            let _ = Logged::read(&line);
        }

        #[test]
        fn garbage_between_bars_does_not_either(fields in prop::collection::vec("[0-9a-z.,: -]{0,20}", 0..9)) {
            let _ = Logged::read(&fields.join("|"));
        }
    }
}
