//! When a job is due: a calendar expression as crontab(5) has it. The only module that knows the
//! library which reads it.

use std::fmt;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions, parse_crontab_with};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// Words for the usual ones.
const WORDS: &[(&str, &str)] = &[
    ("hourly", "0 * * * *"),
    ("daily", "0 0 * * *"),
    ("weekly", "0 0 * * MON"),
    ("monthly", "0 0 1 * *"),
];

/// A calendar expression.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    crontab: Crontab,
    pace: Pace,
}

/// What its times are told by.
#[derive(Clone)]
enum Pace {
    /// Every so many hours or minutes: by the time that passes.
    Passing,
    /// At hours of the day: by the clock on the wall of this zone. The crontab is read as if it were
    /// of UTC, which has no gaps. A moment that the clock skips comes when it has, and one that it
    /// shows twice comes once.
    Wall(TimeZone),
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schedule").field(&self.text).finish()
    }
}

/// Two are the same when they were written alike.
impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Schedule {
    /// Reads `minute hour day month weekday [zone]`, or one of the words `hourly`, `daily`, `weekly`
    /// and `monthly`. Without a zone it is the host's.
    ///
    /// # Errors
    /// What is wrong with it, on one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let word = WORDS.iter().find(|(word, _)| *word == text).map(|(_, fields)| *fields);
        let fields: Vec<&str> = word.unwrap_or(text).split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday, zone @ ..] = fields.as_slice() else {
            return Err(format!("has {} fields, not five", fields.len()));
        };
        let zone = match zone {
            [] => TimeZone::system(),
            [name] => TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone"))?,
            _ => return Err("has more than five fields and a time zone".to_owned()),
        };
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::System;
        let five = [minute, hour, day, month, weekday].map(|field| (*field).to_owned()).join(" ");
        let (crontab, pace) = if hour.starts_with('*') {
            (parse_crontab_with(&fields.join(" "), options), Pace::Passing)
        } else {
            (parse_crontab_with(&format!("{five} UTC"), options), Pace::Wall(zone))
        };
        let crontab = crontab.map_err(|e| last_line(&e.to_string()))?;
        let schedule = Self { text: text.to_owned(), crontab, pace };
        // A leap day comes within the four years that are searched.
        match schedule.after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err("never comes".to_owned()),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first moment after `at`; `None` only at the end of time.
    #[must_use]
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let Pace::Wall(zone) = &self.pace else {
            return self.crontab.find_next(at).ok().map(|next| next.timestamp());
        };
        let mut wall = zone.to_datetime(at);
        loop {
            let as_utc = TimeZone::UTC.to_timestamp(wall).ok()?;
            wall = self.crontab.find_next(as_utc).ok()?.datetime();
            // Where the clock shows it twice, the first is meant, and may be over.
            let next = zone.to_ambiguous_zoned(wall).compatible().ok()?.timestamp();
            if next > at {
                return Some(next);
            }
        }
    }

    /// The last moment in `(after, until]`.
    #[must_use]
    pub fn last_until(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        // Looks back twice as far each time: the whole way may hold a million moments.
        let mut back = SignedDuration::from_mins(1);
        loop {
            let from = until.checked_sub(back).map_or(after, |from| from.max(after));
            let mut last = self.after(from).filter(|first| *first <= until);
            while let Some(next) = last.and_then(|last| self.after(last)) {
                if next > until {
                    return last;
                }
                last = Some(next);
            }
            if from <= after {
                return last;
            }
            back = back.checked_mul(2).unwrap_or(SignedDuration::MAX);
        }
    }
}

/// The library shows the expression and marks the place above what it has to say.
fn last_line(error: &str) -> String {
    let line = error.lines().last().unwrap_or_default();
    line.trim_start_matches([' ', '^']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The first `n` moments after `from`.
    fn moments(schedule: &str, from: &str, n: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule).unwrap();
        let mut last = at(from);
        let mut next = || {
            last = schedule.after(last).unwrap();
            last.to_string()
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn a_daily_moment_is_told_by_the_clock_of_its_zone() {
        assert_eq!(
            moments("30 3 * * * Asia/Shanghai", "2026-03-01T00:00:00Z", 2),
            ["2026-03-01T19:30:00Z", "2026-03-02T19:30:00Z"]
        );
    }

    #[test]
    fn a_moment_that_the_clock_skips_comes_all_the_same() {
        // On this day 02:00 is 03:00.
        assert_eq!(
            moments("30 2 * * * Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_moment_that_the_clock_shows_twice_comes_once() {
        // On this day 03:00 is 02:00 again.
        let once = ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
        assert_eq!(moments("30 2 * * * Europe/Berlin", "2026-10-24T12:00:00Z", 2), once);
        assert_eq!(moments("30 2 * * * Europe/Berlin", "2026-10-25T01:10:00Z", 1), once[1..]);
    }

    #[test]
    fn what_comes_every_hour_comes_by_the_time_that_passes() {
        let hours = moments("0 * * * * Europe/Berlin", "2026-10-24T22:30:00Z", 5);
        let expected: Vec<_> = ["23", "00", "01", "02", "03"]
            .iter()
            .zip([24, 25, 25, 25, 25])
            .map(|(hour, day)| format!("2026-10-{day}T{hour}:00:00Z"))
            .collect();
        assert_eq!(hours, expected);
    }

    #[test]
    fn the_last_moment_is_found_however_long_ago_it_was() {
        let last = |schedule: &str, after: &str, until: &str| {
            let found = Schedule::parse(schedule).unwrap().last_until(at(after), at(until));
            found.map(|found| found.to_string())
        };
        let daily = "0 3 * * * UTC";
        let from = "2001-01-01T00:00:00Z";
        assert_eq!(last(daily, from, "2026-03-01T02:59:59Z").unwrap(), "2026-02-28T03:00:00Z");
        assert_eq!(last(daily, from, "2026-03-01T03:00:00Z").unwrap(), "2026-03-01T03:00:00Z");
        assert_eq!(
            last("* * * * * UTC", from, "2026-03-01T02:59:59Z").unwrap(),
            "2026-03-01T02:59:00Z"
        );
        assert_eq!(last(daily, "2026-03-01T03:00:00Z", "2026-03-02T02:00:00Z"), None);
    }

    #[test]
    fn what_makes_no_sense_is_told_on_one_line() {
        for (text, told) in [
            ("0 3 * *", "has 4 fields, not five"),
            ("0 3 * * * UTC x", "has more than five fields and a time zone"),
            ("0 3 * * * Nowhere/Land", "`Nowhere/Land` is no time zone"),
            ("0 0 30 2 *", "never comes"),
        ] {
            assert_eq!(Schedule::parse(text).unwrap_err(), told, "{text}");
        }
        for text in ["61 3 * * *", "x 3 * * *", "0 3 * * FOO"] {
            let told = Schedule::parse(text).unwrap_err();
            assert!(!told.is_empty() && !told.contains('\n'), "{told:?}");
        }
        for (word, _) in WORDS {
            Schedule::parse(word).unwrap();
        }
    }
}
