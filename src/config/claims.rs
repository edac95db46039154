//! What only one service may have: a port, the name of an upstream.

use std::{cell::RefCell, collections::BTreeMap};

use super::mistake::{Position, Wrong};

/// Who has what, and on which line it was said. In the order of the file: the second is wrong.
#[derive(Debug, Default)]
pub(super) struct Claims {
    taken: RefCell<BTreeMap<String, (String, Position)>>,
}

impl Claims {
    /// Claims `what` (`port 8000`) for `owner`.
    pub(super) fn claim(&self, what: String, owner: &str, at: Position) -> Result<(), Wrong> {
        let mut taken = self.taken.borrow_mut();
        let Some((first, place)) = taken.get(&what) else {
            taken.insert(what, (owner.to_owned(), at));
            return Ok(());
        };
        let line = place.line;
        Err(if first == owner {
            Wrong::new(format!("{what} is written twice, first on line {line}"))
        } else {
            Wrong::new(format!("{what} is already taken by `{first}` on line {line}"))
        }
        .instead("give each its own"))
    }
}
