//! Durations and moments as people read them.

use std::time::Duration;

use jiff::{Timestamp, Unit, tz::TimeZone};

/// How long something took: `0.03 s`, `14.2 s`, `3 min 12 s`, `5 h 03 min`.
pub(super) fn took(seconds: f64) -> String {
    let whole = whole(seconds);
    match seconds {
        s if s < 0.095 => format!("{:.2} s", s.max(0.0)),
        s if s < 59.95 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// How long something has lasted, short enough for a column: `14s`, `3m12s`, `5h03m`, `12d4h`.
pub(super) fn age(seconds: f64) -> String {
    let s = whole(seconds);
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3600),
    }
}

fn whole(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds).map_or(0, |d| d.as_secs())
}

/// Reads `30s`, `5m`, `1m 30s`; a bare number is seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string());
    }
    let signed: jiff::SignedDuration =
        text.parse().map_err(|_| "write it like `30s`, `5m` or `1m 30s`".to_owned())?;
    Duration::try_from(signed).map_err(|_| "it must not be negative".to_owned())
}

/// Moments as the reader's own wall clock shows them. Its zone is looked up by the first moment that
/// is shown: that goes through the whole database of zones, which takes longer than a page of `status`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    zone: fn() -> TimeZone,
}

impl Clock {
    /// The clock of this host: `TZ`, else `/etc/localtime`, else UTC.
    pub(super) const SYSTEM: Self = Self { zone: TimeZone::system };

    #[cfg(test)]
    pub(super) const UTC: Self = Self { zone: || TimeZone::UTC };

    /// `12:00:00.123`, with the date before it where that is not `now`'s.
    pub(super) fn moment(self, at: Timestamp, now: Timestamp) -> String {
        self.show(at, now, "%H:%M:%S%.3f")
    }

    /// `12:00:00`, with the date before it where that is not `now`'s.
    pub(super) fn second(self, at: Timestamp, now: Timestamp) -> String {
        self.show(at, now, "%H:%M:%S")
    }

    /// An RFC 3339 moment to the second; unreadable text as it is.
    pub(super) fn second_of(self, at: &str, now: Timestamp) -> String {
        at.parse().map_or_else(|_| at.to_owned(), |at| self.second(at, now))
    }

    fn show(self, at: Timestamp, now: Timestamp, format: &str) -> String {
        // Cut, not rounded: a line of 23:59:59.9996 is not of tomorrow.
        let cut =
            jiff::TimestampRound::new().smallest(Unit::Millisecond).mode(jiff::RoundMode::Floor);
        let zone = (self.zone)();
        let at = at.round(cut).unwrap_or(at).to_zoned(zone.clone());
        let today = now.to_zoned(zone).date() == at.date();
        let format = if today { format.to_owned() } else { format!("%Y-%m-%d {format}") };
        at.strftime(&format).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        let told: Vec<String> =
            [0.0, 0.031, 0.21, 14.2, 59.94, 59.96, 192.0, 18_190.0].map(took).into();
        let expected = [
            "0.00 s",
            "0.03 s",
            "0.2 s",
            "14.2 s",
            "59.9 s",
            "0 min 59 s",
            "3 min 12 s",
            "5 h 03 min",
        ];
        assert_eq!(told, expected);
        let told: Vec<String> = [4.9, 192.0, 18_190.0, 1_051_200.0, -1.0, f64::NAN].map(age).into();
        assert_eq!(told, ["4s", "3m12s", "5h03m", "12d4h", "0s", "0s"]);
    }

    #[test]
    fn timeouts_are_read_with_and_without_a_unit() {
        assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "-3", "-3s", "soon", "NaN", "inf"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_date_is_shown_only_for_another_day() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let show = |at: &str| Clock::UTC.moment(at.parse().unwrap(), now);
        assert_eq!(show("2026-03-01T09:08:07.123999Z"), "09:08:07.123");
        assert_eq!(show("2026-02-28T23:59:59.999999Z"), "2026-02-28 23:59:59.999");
        assert_eq!(Clock::UTC.second_of("yesterday", now), "yesterday");
    }
}
