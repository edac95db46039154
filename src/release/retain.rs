//! Which releases go. Pure.

use std::collections::BTreeSet;

use crate::ident::ReleaseId;

/// What decides about a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) id: ReleaseId,
    /// It can be read; what cannot is somebody's to look at (`S4`).
    pub(super) readable: bool,
    pub(super) pinned: bool,
}

/// Those of `releases`, newest first, that are neither among the newest `keep` nor pinned, protected
/// (`D2`) or unreadable. At least the newest stays.
pub(super) fn superfluous(
    releases: &[Kept],
    keep: usize,
    protected: &BTreeSet<ReleaseId>,
) -> Vec<ReleaseId> {
    let readable = releases.iter().filter(|release| release.readable);
    let old = readable.skip(keep.max(1));
    let free = old.filter(|release| !release.pinned && !protected.contains(&release.id));
    free.map(|release| release.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every shelf of up to five releases, with every mixture of what may be true of each.
    #[test]
    fn nothing_goes_that_is_needed_and_everything_else_does() {
        for count in 0..=5_u32 {
            for bits in 0..8_u32.pow(count) {
                let of = |release: u32, bit: u32| bits >> (3 * release + bit) & 1 == 1;
                let releases: Vec<Kept> = (0..count)
                    .map(|n| Kept {
                        id: ReleaseId(format!("r{n}")),
                        readable: of(n, 0),
                        pinned: of(n, 1),
                    })
                    .collect();
                let protected: BTreeSet<ReleaseId> =
                    (0..count).filter(|n| of(*n, 2)).map(|n| ReleaseId(format!("r{n}"))).collect();
                for keep in 0..=3 {
                    let gone = superfluous(&releases, keep, &protected);
                    let mut newer = 0;
                    for release in &releases {
                        let needed = !release.readable
                            || release.pinned
                            || protected.contains(&release.id)
                            || newer < keep.max(1);
                        assert_eq!(
                            gone.contains(&release.id),
                            !needed,
                            "{releases:?} {keep} {protected:?}"
                        );
                        newer += usize::from(release.readable);
                    }
                }
            }
        }
    }
}
