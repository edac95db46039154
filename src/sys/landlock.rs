//! Landlock: files made read-only for a process and its descendants without any right of root.
//! Source: the kernel's `Documentation/userspace-api/landlock.rst`; Linux 5.13.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use landlock::{
    ABI, AccessFs, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, path_beneath_rules,
};

/// Linux 6.2, the first that knows truncate(2). An older one refuses what it knows.
const NEWEST: ABI = ABI::V3;

/// A ruleset under which only what is at and below `writable`, and the open `files` themselves, can
/// be changed. Paths that do not exist are passed over.
///
/// # Errors
/// `Unsupported` where the kernel has no Landlock, or the system does not use it.
pub fn only_writable(writable: &[PathBuf], files: &[impl AsFd]) -> io::Result<OwnedFd> {
    let ruleset = build(writable, files).map_err(io::Error::other)?;
    Option::<OwnedFd>::from(ruleset).ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

fn build(writable: &[PathBuf], files: &[impl AsFd]) -> Result<RulesetCreated, RulesetError> {
    let writes = AccessFs::from_write(NEWEST);
    let mut ruleset = Ruleset::default().handle_access(writes)?.create()?;
    ruleset = ruleset.add_rules(path_beneath_rules(writable, writes))?;
    for file in files {
        let rule = PathBeneath::new(file, AccessFs::WriteFile | AccessFs::Truncate);
        ruleset = ruleset.add_rule(rule)?;
    }
    Ok(ruleset)
}
