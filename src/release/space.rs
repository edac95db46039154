//! Whether there is room for another release, in bytes and in inodes.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What files need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Bytes.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// The least that is asked for: what git, compilation and hooks add.
pub(super) const LEAST: Weight = Weight { bytes: 32 << 20, inodes: 1000 };

/// The least that an environment is expected to need, where none was made before.
const FIRST_VENV: Weight = Weight { bytes: 128 << 20, inodes: 5000 };

impl Weight {
    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }

    fn or_more(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), inodes: self.inodes.max(other.inodes) }
    }

    /// With a fifth more.
    const fn roughly(self) -> Self {
        self.and(Self { bytes: self.bytes / 5, inodes: self.inodes / 5 })
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB and {} files", self.bytes.div_ceil(1 << 20), self.inodes)
    }
}

/// Whether an environment has to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Venv {
    /// There is one already, or none is needed.
    Nothing,
    /// Nobody knows how much it will need.
    First,
    /// The last one needed so much.
    Like(Weight),
}

/// What a release of `source` needs; `last` is what the one before came to. Pure.
pub(super) fn needed(source: Weight, last: Option<Weight>, venv: Venv) -> Weight {
    let tree = source.or_more(last.unwrap_or_default()).roughly().and(LEAST);
    match venv {
        Venv::Nothing => tree,
        Venv::First => tree.and(FIRST_VENV),
        Venv::Like(weight) => tree.and(weight.roughly()),
    }
}

/// There is not enough room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Where.
    pub place: PathBuf,
    /// What is needed.
    pub needed: Weight,
    /// What is free.
    pub free: Weight,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, needed, free } = self;
        write!(f, "{} needs {needed}, and has {free}", place.display())
    }
}

/// Whether `free` is less than `needed`, in either respect. Pure.
pub(super) fn short(place: &Path, needed: Weight, free: Weight) -> Option<Shortage> {
    (free.bytes < needed.bytes || free.inodes < needed.inodes).then(|| Shortage {
        place: place.to_owned(),
        needed,
        free,
    })
}

/// What is free where `place` is.
pub(super) fn free(place: &Path) -> io::Result<Weight> {
    let seen = rustix::fs::statvfs(place)?;
    // Some file systems (btrfs) make inodes as they are needed, and count none.
    let inodes = if seen.f_files == 0 { u64::MAX } else { seen.f_favail };
    Ok(Weight { bytes: seen.f_bavail.saturating_mul(seen.f_frsize), inodes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn weight(bytes: u64, inodes: u64) -> Weight {
        Weight { bytes, inodes }
    }

    #[test]
    fn what_was_needed_before_is_expected_again() {
        let source = weight(100 << 20, 10_000);
        let bare = needed(source, None, Venv::Nothing);
        assert_eq!(bare, weight(152 << 20, 13_000));
        assert_eq!(needed(source, Some(weight(1, 1)), Venv::Nothing), bare);
        let grown = needed(source, Some(weight(200 << 20, 1)), Venv::Nothing);
        assert_eq!(grown, weight(272 << 20, 13_000));
        let venv = needed(source, None, Venv::Like(weight(50 << 20, 100)));
        assert_eq!(venv, weight(212 << 20, 13_120));
        assert!(needed(source, None, Venv::First).bytes > bare.bytes);
        assert_eq!(needed(weight(u64::MAX, 1), None, Venv::First).bytes, u64::MAX);
    }

    #[test]
    fn bytes_and_inodes_both_have_to_suffice() {
        let place = Path::new("/srv");
        let need = weight(10, 10);
        assert_eq!(short(place, need, weight(10, 10)), None);
        for free in [weight(9, 10), weight(10, 9), weight(0, 0)] {
            assert_eq!(short(place, need, free).unwrap().free, free);
        }
        let told = short(place, weight(2 << 20, 10), weight(1, 10)).unwrap().to_string();
        assert_eq!(told, "/srv needs 2 MiB and 10 files, and has 1 MiB and 10 files");
        assert!(free(Path::new("/")).unwrap().bytes > 0);
    }
}
