//! The section `limits` of a service.

use std::time::Duration;

use jiff::SignedDuration;

use super::{
    mistake::Wrong,
    scalar::{self, expected, shown, some_time},
    section::Section,
    tree::{Node, Value},
};
use crate::sys::confine::{Limits, MemoryLimit, Resource, Rlimit};

/// Usual time between two looks at a tree's memory.
const SAMPLE: Duration = Duration::from_secs(5);

/// Less than this is a mistake in the unit.
const LEAST_MEMORY: u64 = 1024 * 1024;

/// What a number of a limit counts.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Count,
    Bytes,
    Seconds,
}

const fn unit(resource: Resource) -> Unit {
    match resource {
        Resource::OpenFiles
        | Resource::Processes
        | Resource::RealtimePriority
        | Resource::PendingSignals => Unit::Count,
        Resource::CpuTime => Unit::Seconds,
        Resource::AddressSpace
        | Resource::Core
        | Resource::Data
        | Resource::FileSize
        | Resource::Memlock
        | Resource::MessageQueue
        | Resource::Stack => Unit::Bytes,
    }
}

/// Reads the section.
pub(super) fn limits(s: &mut Section<'_>) -> Limits {
    let rlimits = Resource::ALL.into_iter().filter_map(|resource| rlimit(s, resource)).collect();
    let memory = s.get("memory", memory_size);
    let sample = s.get("sample", some_time);
    if sample.is_some() && !s.has("memory") {
        let wrong = Wrong::new("there is no `memory` to look at");
        s.complain("sample", wrong.instead("set `memory`, or remove it"));
    }
    let memory_high = s.get("memory_high", memory_size);
    if memory.zip(memory_high).is_some_and(|(most, high)| high >= most) {
        let wrong = Wrong::new("is not below `memory`");
        s.complain("memory_high", wrong.instead("make it smaller, or remove it"));
    }
    Limits {
        rlimits,
        memory: memory.map(|bytes| MemoryLimit { bytes, sample: sample.unwrap_or(SAMPLE) }),
        memory_high,
        cpu_thousandths: s.get("cpus", cpus),
        cpu_weight: s.get("cpu_weight", scalar::whole(1..=10_000)),
        pids: s.get("pids", scalar::whole(1..=4_194_304)),
    }
}

fn rlimit(s: &mut Section<'_>, resource: Resource) -> Option<Rlimit> {
    let (soft, hard) = s.get(resource.word(), |node| pair(node, unit(resource)))?;
    let above = match (soft, hard) {
        (Some(soft), Some(hard)) => soft > hard,
        (None, Some(_)) => true,
        (_, None) => false,
    };
    if above {
        let wrong = Wrong::new("the soft limit is above the hard one");
        s.complain(resource.word(), wrong.instead("write SOFT:HARD"));
    }
    Some(Rlimit { resource, soft, hard })
}

type Pair = (Option<u64>, Option<u64>);

/// `65535`, `1024:65535`, `unlimited`, `64KiB:unlimited`.
fn pair(node: &Node, unit: Unit) -> Result<Pair, Wrong> {
    match &node.value {
        Value::Int(number) => {
            let limit = number_of(*number, unit)?;
            Ok((Some(limit), Some(limit)))
        }
        Value::Text(text) => match text.split_once(':') {
            Some((soft, hard)) => Ok((one(soft, unit)?, one(hard, unit)?)),
            None => one(text, unit).map(|limit| (limit, limit)),
        },
        _ => {
            let wrong = expected(&format!("{} or unlimited", unit.noun()), node);
            Err(wrong.instead(unit.example()))
        }
    }
}

fn number_of(number: i64, unit: Unit) -> Result<u64, Wrong> {
    let positive = u64::try_from(number)
        .map_err(|_| Wrong::new(format!("{number} is out of range")).instead("use 0 or more"))?;
    match unit {
        Unit::Bytes if number != 0 => {
            Err(Wrong::new(format!("{number} has no unit")).instead(unit.example()))
        }
        Unit::Seconds => {
            Err(Wrong::new(format!("{number} has no unit")).instead(format!("write {number}s")))
        }
        Unit::Bytes | Unit::Count => Ok(positive),
    }
}

fn one(text: &str, unit: Unit) -> Result<Option<u64>, Wrong> {
    if text == "unlimited" {
        return Ok(None);
    }
    let read = match unit {
        Unit::Count => text.parse().ok(),
        Unit::Bytes => bytes(text),
        Unit::Seconds => seconds(text),
    };
    read.map(Some).ok_or_else(|| {
        let wrong = Wrong::new(format!("`{}` is not {}", shown(text), unit.noun()));
        wrong.instead(unit.example())
    })
}

impl Unit {
    const fn noun(self) -> &'static str {
        match self {
            Self::Count => "a whole number",
            Self::Bytes => "a size",
            Self::Seconds => "a time in whole seconds",
        }
    }

    const fn example(self) -> &'static str {
        match self {
            Self::Count => "write for example 4096, 1024:4096 or unlimited",
            Self::Bytes => "write for example 64KiB, 512MiB or 2GiB",
            Self::Seconds => "write for example 90s or 1h",
        }
    }
}

/// `64KiB`; `0` needs no unit.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let shift = match unit {
        "" if number == 0 => 0,
        "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        "TiB" | "T" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn seconds(text: &str) -> Option<u64> {
    let given = Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()?;
    (given.subsec_nanos() == 0 && !given.is_zero()).then_some(given.as_secs())
}

/// An amount of memory for a whole tree.
fn memory_size(node: &Node) -> Result<u64, Wrong> {
    let given = match &node.value {
        Value::Int(number) => Some(number_of(*number, Unit::Bytes)?),
        Value::Text(text) => one(text, Unit::Bytes)?,
        _ => return Err(expected("a size", node).instead(Unit::Bytes.example())),
    };
    match given {
        None => Err(Wrong::new("unlimited is what holds without it").instead("remove it")),
        Some(given) if given < LEAST_MEMORY => {
            Err(Wrong::new("is less than 1MiB, in which nothing runs").instead("make it larger"))
        }
        Some(given) => Ok(given),
    }
}

/// Processors, in thousandths.
fn cpus(node: &Node) -> Result<u32, Wrong> {
    let number = match node.value {
        Value::Float(number) => number,
        Value::Int(number) => f64::from(i32::try_from(number).unwrap_or(i32::MAX)),
        _ => return Err(expected("a number of processors", node).instead("write for example 1.5")),
    };
    if !(0.01..=4096.0).contains(&number) {
        return Err(Wrong::new("is out of range").instead("use 0.01 to 4096"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 10 to 4,096,000
    Ok((number * 1000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("12B", Some(12)),
            ("64KiB", Some(65536)),
            ("64K", Some(65536)),
            ("2GiB", Some(1 << 31)),
            ("1TiB", Some(1 << 40)),
            ("12", None),
            ("", None),
            ("KiB", None),
            ("1.5GiB", None),
            ("1kib", None),
            ("-1MiB", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert_eq!((seconds("90s"), seconds("1h")), (Some(90), Some(3600)));
        assert_eq!((seconds("500ms"), seconds("0s"), seconds("soon")), (None, None, None));
    }
}
