//! Where the processes of one tree are found.

use std::io;

use tokio::time::Instant;

use super::{cgroup::Leaf, session::Session};

/// Where the processes of one tree are found.
#[derive(Debug)]
pub enum Place {
    /// All of them, whatever they do.
    Cgroup(Leaf),
    /// Those that did not hide.
    Session(Session),
}

impl Place {
    /// Every living process in it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn pids(&self) -> io::Result<Vec<i32>> {
        match self {
            Self::Cgroup(leaf) => leaf.pids(),
            Self::Session(session) => session.pids(),
        }
    }

    /// SIGKILL to every process in it, without waiting.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> io::Result<()> {
        match self {
            Self::Cgroup(leaf) if leaf.populated()? => leaf.kill(),
            Self::Cgroup(_) => Ok(()),
            Self::Session(session) => session.kill().map(|_| ()),
        }
    }

    /// Nothing is in it any more, and it is not used again as it is.
    pub fn retire(&self) {
        match self {
            Self::Cgroup(leaf) => leaf.retire(),
            Self::Session(_) => {}
        }
    }

    /// Ends every process in it; `false` when one is left at `deadline`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn end(&self, deadline: Instant) -> io::Result<bool> {
        match self {
            Self::Cgroup(leaf) => {
                if !leaf.populated()? {
                    return Ok(true);
                }
                leaf.kill()?;
                let empty = leaf.wait_empty(deadline).await?;
                if empty {
                    leaf.retire();
                }
                Ok(empty)
            }
            Self::Session(session) => session.end(deadline).await,
        }
    }
}
