//! Moments as people write them: `today`, `10m`, `2026-03-01 12:00`.

use jiff::{
    Span, Timestamp, Zoned,
    civil::{DateTime, Time},
};

const EXAMPLES: &str =
    "write `today`, `yesterday`, `10m`, `2h ago`, `12:00`, `2026-03-01 12:00` or RFC 3339";

/// Reads a moment, seen from `now`, in whose zone dates and times of day are.
pub(super) fn parse_moment(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let text = text.trim();
    let today = || now.start_of_day();
    let named = match text {
        "now" => Some(Ok(now.clone())),
        "today" => Some(today()),
        "yesterday" => Some(now.yesterday().and_then(|day| day.start_of_day())),
        _ => None,
    };
    if let Some(named) = named {
        return named.map(|at| at.timestamp()).map_err(|e| e.to_string());
    }
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    // A time of day is also what `10` could be, which nobody means.
    let time = text.contains(':').then(|| text.parse::<Time>().ok()).flatten();
    let local = text.parse::<DateTime>().ok();
    let found = match local.or_else(|| time.map(|time| now.date().to_datetime(time))) {
        Some(local) => local.to_zoned(now.time_zone().clone()),
        None => match text.strip_prefix('-').unwrap_or(text).parse::<Span>() {
            // `10m` and `10m ago` are the same.
            Ok(span) if !span.is_zero() => now.checked_sub(span.abs()),
            _ => return Err(EXAMPLES.to_owned()),
        },
    };
    found.map(|at| at.timestamp()).map_err(|_| format!("it is out of range; {EXAMPLES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let now = "2026-03-10T12:30:00[America/New_York]".parse::<Zoned>().unwrap();
        parse_moment(text, &now).map(|at| at.to_string())
    }

    #[test]
    fn moments_are_of_the_readers_own_clock() {
        for (text, at) in [
            ("now", "2026-03-10T16:30:00Z"),
            ("today", "2026-03-10T04:00:00Z"),
            ("yesterday", "2026-03-09T04:00:00Z"),
            ("10m", "2026-03-10T16:20:00Z"),
            ("2h ago", "2026-03-10T14:30:00Z"),
            ("-90s", "2026-03-10T16:28:30Z"),
            ("1h30m", "2026-03-10T15:00:00Z"),
            // Over the change to summer time, by the calendar.
            ("3d", "2026-03-07T17:30:00Z"),
            ("09:00", "2026-03-10T13:00:00Z"),
            ("09:00:01", "2026-03-10T13:00:01Z"),
            ("2026-03-01", "2026-03-01T05:00:00Z"),
            ("2026-03-01 06:00", "2026-03-01T11:00:00Z"),
            ("2026-03-01 06:00:07", "2026-03-01T11:00:07Z"),
            ("2026-03-01T06:00:00Z", "2026-03-01T06:00:00Z"),
            ("2026-03-01T06:00:00.5+02:00", "2026-03-01T04:00:00.5Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(at), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_told() {
        for text in ["", "soon", "10", "0s", "2026-13-01", "25:00", "99999999 years"] {
            assert!(read(text).unwrap_err().contains("write `today`"), "{text}");
        }
    }
}
