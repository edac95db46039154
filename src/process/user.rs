//! Which ids a user's and a group's name mean.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist};

use super::ProcessError;
use crate::sys::spawn::Credentials;

/// The ids of `user` and `group` (names, or numbers); `None` when nothing has to change. Reads the
/// host's user database, which may block.
pub(super) fn resolve(
    user: Option<&str>,
    group: Option<&str>,
) -> Result<Option<Credentials>, ProcessError> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let user = user.map(find_user).transpose()?;
    let group = group.map(find_group).transpose()?;
    let uid = user.as_ref().map_or_else(geteuid, |user| user.uid);
    let gid = group.or(user.as_ref().map(|user| user.gid)).unwrap_or_else(getegid);
    // Without a user to ask about, or where the name has groups the daemon may not give: just one.
    if uid == geteuid() && gid == getegid() && !geteuid().is_root() {
        return Ok(None);
    }
    let groups = match &user {
        Some(user) => supplementary(user, gid)?,
        None => vec![gid.as_raw()],
    };
    Ok(Some(Credentials { uid: uid.as_raw(), gid: gid.as_raw(), groups }))
}

fn find_user(name: &str) -> Result<User, ProcessError> {
    let found = match name.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(name),
    };
    let lookup = |reason| ProcessError::Lookup { what: format!("user `{name}`"), reason };
    found.map_err(lookup)?.ok_or_else(|| ProcessError::NoUser(name.to_owned()))
}

fn find_group(name: &str) -> Result<Gid, ProcessError> {
    let found = match name.parse() {
        Ok(gid) => Group::from_gid(Gid::from_raw(gid)),
        Err(_) => Group::from_name(name),
    };
    let lookup = |reason| ProcessError::Lookup { what: format!("group `{name}`"), reason };
    let group = found.map_err(lookup)?.ok_or_else(|| ProcessError::NoGroup(name.to_owned()))?;
    Ok(group.gid)
}

fn supplementary(user: &User, gid: Gid) -> Result<Vec<u32>, ProcessError> {
    let name = CString::new(user.name.as_str()).map_err(|_| ProcessError::Nul("a user's name"))?;
    let groups = getgrouplist(&name, gid).map_err(|reason| ProcessError::Lookup {
        what: format!("the groups of user `{}`", user.name),
        reason,
    })?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids_and_unknown_ones_are_told() {
        assert_eq!(resolve(None, None).unwrap(), None);
        let found = resolve(Some("daemon"), None).unwrap().unwrap();
        assert_eq!((found.uid, found.gid), (1, 1));
        assert!(found.groups.contains(&1));
        assert!(matches!(resolve(Some("nobody-here"), None), Err(ProcessError::NoUser(_))));
        assert!(matches!(resolve(None, Some("nobody-here")), Err(ProcessError::NoGroup(_))));
    }
}
