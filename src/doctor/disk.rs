//! Room on the disks: bytes and inodes.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Finding, Severity, Topic};
use crate::config::Config;

const MIB: u64 = 1024 * 1024;

/// A file system that something of aibk is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// What is on it.
    holds: Vec<PathBuf>,
    bytes: Room,
    /// All zero where the file system does not count them.
    inodes: Room,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    free: u64,
    all: u64,
}

impl Room {
    fn percent(self) -> u64 {
        self.free.saturating_mul(100).checked_div(self.all).unwrap_or(100)
    }
}

pub(super) fn look(config: &Config) -> Vec<Disk> {
    let mut places: Vec<&Path> = vec![&config.state_dir, &config.log_dir, &config.runtime_dir];
    places.extend(config.services.values().map(|service| service.directory.as_path()));
    for app in config.apps.values() {
        places.push(&app.home);
        places.extend(app.backup.as_ref().map(|backup| backup.directory.as_path()));
    }
    places.extend(config.nginx.as_ref().and_then(|nginx| nginx.error_log.parent()));
    let mut disks: BTreeMap<u64, Disk> = BTreeMap::new();
    for place in places {
        let there = place.ancestors().find_map(|place| Some((place, place.metadata().ok()?)));
        let Some((there, meta)) = there else { continue };
        let Ok(stat) = rustix::fs::statvfs(there) else { continue };
        let disk = disks.entry(meta.dev()).or_insert_with(|| Disk {
            holds: vec![],
            bytes: Room {
                free: stat.f_bavail.saturating_mul(stat.f_frsize),
                all: stat.f_blocks.saturating_mul(stat.f_frsize),
            },
            inodes: Room { free: stat.f_favail, all: stat.f_files },
        });
        if !disk.holds.iter().any(|known| place.starts_with(known)) {
            disk.holds.push(place.to_owned());
        }
    }
    disks.into_values().collect()
}

pub(super) fn findings(disks: &[Disk]) -> Vec<Finding> {
    disks.iter().flat_map(|disk| [bytes(disk), inodes(disk)].into_iter().flatten()).collect()
}

fn bytes(disk: &Disk) -> Option<Finding> {
    let (free, percent) = (disk.bytes.free, disk.bytes.percent());
    let severity = match () {
        () if free < 100 * MIB || percent < 1 => Severity::Problem,
        () if free < 1024 * MIB || percent < 5 => Severity::Warning,
        () => Severity::Ok,
    };
    let first = disk.holds.first()?.display();
    let what = format!("{} free ({percent} %) on the disk of {}", size(free), held(disk));
    let next = format!("see what takes it: du -xh --max-depth=2 {first} | sort -h | tail");
    Some(match severity {
        Severity::Ok => Finding::ok(Topic::Host, what),
        _ => Finding { severity, ..Finding::warning(Topic::Host, what, next) },
    })
}

/// Only what is wrong: where there are enough, nobody asks.
fn inodes(disk: &Disk) -> Option<Finding> {
    let percent = disk.inodes.percent();
    let severity = match percent {
        0 => Severity::Problem,
        1..5 => Severity::Warning,
        _ => return None,
    };
    let first = disk.holds.first()?.display();
    let what = format!("{percent} % of the inodes free on the disk of {}", held(disk));
    let next =
        format!("see where the many small files are: du --inodes -x {first} | sort -n | tail");
    Some(Finding { severity, ..Finding::warning(Topic::Host, what, next) })
}

fn held(disk: &Disk) -> String {
    let names: Vec<_> = disk.holds.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

pub(super) fn size(bytes: u64) -> String {
    match bytes / MIB {
        mib @ 0..10_000 => format!("{mib} MiB"),
        mib => format!("{} GiB", mib / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(free: u64, all: u64, inodes: u64) -> Vec<Severity> {
        let disk = Disk {
            holds: vec!["/srv".into()],
            bytes: Room { free: free * MIB, all: all * MIB },
            inodes: Room { free: inodes, all: 1000 },
        };
        findings(&[disk]).into_iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn little_room_is_told_before_there_is_none() {
        use Severity as S;
        assert_eq!(told(50_000, 100_000, 500), [S::Ok]);
        assert_eq!(told(99, 100_000, 500), [S::Problem]);
        assert_eq!(told(900, 1000, 500), [S::Warning], "a small disk");
        assert_eq!(told(40_000, 1_000_000, 500), [S::Warning], "4 % of a large one");
        assert_eq!(told(50_000, 100_000, 9), [S::Ok, S::Problem]);
        assert_eq!(told(50_000, 100_000, 40), [S::Ok, S::Warning]);
        let none = Room { free: 0, all: 0 };
        assert_eq!(none.percent(), 100, "a file system that does not count them");
    }
}
