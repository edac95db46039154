//! `logs`: how much of the output of an instance is kept, and how.

use std::time::Duration;

use super::{
    mistake::Wrong,
    scalar,
    section::Section,
    tree::{Node, Value},
};

/// How the output of each instance is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// Where it goes.
    pub to: LogsTo,
    /// Another file is begun once the one that is written is longer, in bytes.
    pub size: u64,
    /// Files of each instance, with the one that is written.
    pub keep: usize,
    /// Files whose last line is older are removed.
    pub age: Option<Duration>,
    /// Files that are not written any more are compressed.
    pub compress: bool,
}

/// Where the output of instances goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogsTo {
    /// Into files.
    Files,
    /// Into systemd's journal, with fields; the files are few then, for `aibkctl logs`.
    Journal,
}

const TO: &[(&str, LogsTo)] = &[("files", LogsTo::Files), ("journal", LogsTo::Journal)];
const KIB: u64 = 1024;
const UNITS: &[(&str, u64)] = &[("KiB", KIB), ("MiB", KIB * KIB), ("GiB", KIB * KIB * KIB)];
/// Smaller files would be begun all the time, larger ones read for too long.
const SIZES: std::ops::RangeInclusive<u64> = 64 * KIB..=1024 * 1024 * KIB;
/// Ten years.
const OLDEST_DAYS: u32 = 3650;

/// Reads the section.
pub(super) fn logs(s: &mut Section<'_>) -> Logs {
    let to = s.or("to", LogsTo::Files, scalar::one_of(TO));
    let (usual_size, usual_keep) = match to {
        LogsTo::Files => (10 * KIB * KIB, 5),
        LogsTo::Journal => (KIB * KIB, 2),
    };
    Logs {
        to,
        size: s.or("size", usual_size, size),
        keep: s.or("keep", usual_keep, scalar::whole(1..=1000)),
        age: s.get("age", age),
        compress: s.or("compress", true, scalar::boolean),
    }
}

fn size(node: &Node) -> Result<u64, Wrong> {
    let wrong = |what: &str| Wrong::new(what).instead("write for example 512KiB or 10MiB");
    let Value::Text(text) = &node.value else { return Err(wrong("is not a size with its unit")) };
    let parsed = UNITS.iter().find_map(|(unit, bytes)| {
        text.strip_suffix(unit)?.trim_end().parse::<u64>().ok()?.checked_mul(*bytes)
    });
    match parsed {
        Some(size) if SIZES.contains(&size) => Ok(size),
        Some(_) => Err(Wrong::new("is out of range").instead("use 64KiB to 1GiB")),
        None => Err(wrong("is not a size")),
    }
}

/// Days, or any duration from one minute on.
fn age(node: &Node) -> Result<Duration, Wrong> {
    let days = match &node.value {
        Value::Text(text) => text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()),
        _ => None,
    };
    match days {
        Some(days @ 1..=OLDEST_DAYS) => Ok(Duration::from_secs(u64::from(days) * 24 * 3600)),
        Some(_) => Err(Wrong::new("is out of range").instead("use 1d to 3650d")),
        None => match scalar::duration(node)? {
            age if age >= Duration::from_secs(60) => Ok(age),
            _ => Err(Wrong::new("is too short").instead("use at least 1m, for example 14d")),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn read(logs: &str) -> Result<Logs, String> {
        let text = format!("services: {{w: {{command: [x], directory: /}}}}\nlogs: {logs}\n");
        let config = Config::parse(&text, Path::new("/etc/aibk.yaml"));
        config.map(|config| config.logs).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_and_every_key() {
        let to = LogsTo::Files;
        let defaults = Logs { to, size: 10 << 20, keep: 5, age: None, compress: true };
        assert_eq!(read("{}").unwrap(), defaults);
        let age = Some(Duration::from_secs(14 * 24 * 3600));
        let given = Logs { to, size: 64 << 10, keep: 1, age, compress: false };
        assert_eq!(read("{size: 64KiB, keep: 1, age: 14d, compress: false}").unwrap(), given);
        let journal = read("{to: journal}").unwrap();
        assert_eq!((journal.to, journal.size, journal.keep), (LogsTo::Journal, 1 << 20, 2));
        assert_eq!(read("{age: 36h}").unwrap().age, Some(Duration::from_secs(36 * 3600)));
    }

    #[test]
    fn mistakes_are_told() {
        for (given, told) in [
            ("{to: journald}", "did you mean `journal`?"),
            ("{size: 10}", "is not a size with its unit; write for example"),
            ("{size: 10MB}", "is not a size"),
            ("{size: 1KiB}", "use 64KiB to 1GiB"),
            ("{size: 99999999999999999GiB}", "is not a size"),
            ("{keep: 0}", "0 is out of range"),
            ("{age: 0d}", "use 1d to 3650d"),
            ("{age: 10s}", "is too short"),
            ("{age: 14}", "has no unit"),
            ("{age: soon}", "is not a duration"),
            ("{compress: yes}", "write true"),
            ("{kep: 4}", "keep"),
        ] {
            let error = read(given).unwrap_err();
            assert!(error.contains(told), "{given}: {error}");
        }
    }
}
