//! Who asks, and how far they may go (`C2`).

use std::{collections::BTreeMap, ffi::CString, io, time::Duration};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::net::{UnixStream, unix::UCred};

use super::operations::Caller;
use crate::config::Access;

/// How long the user database (which may be a network service) is waited for.
const LOOK_UP: Duration = Duration::from_secs(3);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody with a level of access.
    Known(Caller),
    /// Somebody without any.
    Stranger {
        /// User id.
        uid: u32,
    },
}

/// Who may do what: root and the daemon's own user everything, others by their groups.
#[derive(Debug)]
pub(super) struct Policy {
    own_uid: u32,
    grants: BTreeMap<String, Access>,
}

impl Policy {
    pub(super) fn new(grants: BTreeMap<String, Access>) -> Self {
        Self { own_uid: rustix::process::geteuid().as_raw(), grants }
    }

    /// Root, or the daemon's own user: needs no look at any group.
    pub(super) fn is_admin(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own_uid
    }

    /// Who `peer` is. May ask the user database, on a thread of its own.
    pub(super) async fn judge(&self, peer: UCred) -> Peer {
        let (uid, gid) = (peer.uid(), peer.gid());
        let access = if self.is_admin(uid) {
            Some(Access::Admin)
        } else {
            let grants = self.grants.clone();
            let look_up = tokio::task::spawn_blocking(move || granted(uid, gid, &grants));
            if let Ok(Ok(access)) = tokio::time::timeout(LOOK_UP, look_up).await {
                access
            } else {
                tracing::warn!(uid, "the groups of this user could not be looked up in time");
                None
            }
        };
        match access {
            Some(access) => Peer::Known(Caller { uid, pid: peer.pid().unwrap_or(0), access }),
            None => Peer::Stranger { uid },
        }
    }
}

/// The credentials the kernel kept when the peer connected (`SO_PEERCRED`, unix(7)).
pub(super) fn credentials(stream: &UnixStream) -> io::Result<UCred> {
    stream.peer_cred()
}

/// The highest level granted to a group of the user's.
fn granted(uid: u32, gid: u32, grants: &BTreeMap<String, Access>) -> Option<Access> {
    let groups = groups_of(uid, gid);
    let levels = grants.iter().filter_map(|(name, access)| {
        let group = Group::from_name(name).ok().flatten()?;
        Some((group.gid.as_raw(), *access))
    });
    highest(&groups, levels)
}

fn highest(groups: &[u32], levels: impl Iterator<Item = (u32, Access)>) -> Option<Access> {
    levels.filter(|(gid, _)| groups.contains(gid)).map(|(_, access)| access).max()
}

/// The group the peer had when it connected, and those its user is a member of.
fn groups_of(uid: u32, gid: u32) -> Vec<u32> {
    let member_of = || -> Option<Vec<Gid>> {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
        getgrouplist(&CString::new(user.name).ok()?, user.gid).ok()
    };
    let mut groups = vec![gid];
    groups.extend(member_of().unwrap_or_default().into_iter().map(Gid::as_raw));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_of_the_users_groups_counts() {
        let levels = || [(5, Access::Read), (6, Access::Deploy), (7, Access::Admin)].into_iter();
        assert_eq!(highest(&[1, 5, 6], levels()), Some(Access::Deploy));
        assert_eq!(highest(&[5], levels()), Some(Access::Read));
        assert_eq!(highest(&[1, 2], levels()), None);
        assert_eq!(highest(&[], levels()), None);
    }

    #[test]
    fn root_and_the_daemons_own_user_are_admin() {
        let policy = Policy { own_uid: 990, grants: BTreeMap::new() };
        assert!(policy.is_admin(0) && policy.is_admin(990));
        assert!(!policy.is_admin(1000));
    }

    #[test]
    fn groups_come_from_the_connection_and_from_the_user_database() {
        let name = Group::from_gid(Gid::from_raw(0)).unwrap().unwrap().name;
        let grants =
            BTreeMap::from([(name, Access::Operate), ("no-such-group".into(), Access::Admin)]);
        assert_eq!(granted(54_321, 0, &grants), Some(Access::Operate));
        assert_eq!(granted(0, 54_321, &grants), Some(Access::Operate));
        assert_eq!(granted(54_321, 54_321, &grants), None);
    }
}
