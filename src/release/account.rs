//! Who an instance runs as: what its environment says about that.

use std::{path::PathBuf, sync::OnceLock};

use nix::unistd::{User, geteuid};

/// The daemon's own, which does not change.
static OWN: OnceLock<Account> = OnceLock::new();

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
}

/// Why nothing is known about a user.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is none of that name.
    #[error("user {0} does not exist; create it, or correct `user` of the service")]
    Unknown(String),
    /// The name service failed.
    #[error("user {name} could not be looked up: {error}")]
    Failed {
        /// Whom we looked for.
        name: String,
        /// The system's reason.
        error: nix::Error,
    },
}

impl Account {
    /// The daemon's own, when it was looked up before: nobody has to be asked.
    #[must_use]
    pub fn own() -> Option<Self> {
        OWN.get().cloned()
    }

    /// Looks up `user`, or the daemon's own when `None`. Asks the host's name service, which may
    /// wait for a network where it is not plain files.
    ///
    /// # Errors
    /// When there is no such user, or nobody can tell.
    pub fn look_up(user: Option<&str>) -> Result<Self, AccountError> {
        match user {
            None => match OWN.get() {
                Some(own) => Ok(own.clone()),
                None => Self::ask(None).map(|own| OWN.get_or_init(|| own).clone()),
            },
            user => Self::ask(user),
        }
    }

    fn ask(user: Option<&str>) -> Result<Self, AccountError> {
        let (name, found) = match user {
            Some(name) => (name.to_owned(), User::from_name(name)),
            None => (geteuid().to_string(), User::from_uid(geteuid())),
        };
        match found {
            Ok(Some(user)) => Ok(Self { name: user.name, home: user.dir }),
            // In a container the daemon's own uid often has no entry; that stops nobody.
            Ok(None) if user.is_none() => Ok(Self { name, home: PathBuf::from("/") }),
            Ok(None) => Err(AccountError::Unknown(name)),
            Err(error) => Err(AccountError::Failed { name, error }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_or_named() {
        let root = Account::look_up(Some("root")).unwrap();
        assert_eq!(root, Account { name: "root".into(), home: "/root".into() });
        let nobody = Account::look_up(Some("no-such-user-here")).unwrap_err();
        assert!(nobody.to_string().contains("no-such-user-here"));
        let own = Account::look_up(None).unwrap();
        assert_eq!(Account::own(), Some(own));
    }
}
