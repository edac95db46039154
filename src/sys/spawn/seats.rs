//! Descriptors with low numbers, through which a child gets what it needs.
//!
//! A child that is lent the daemon's memory shares its table of descriptors as well, until it has
//! made itself a copy of the low end of it. Copying and closing all of them, of which it needs five,
//! would be most of what a start costs a daemon with a thousand instances.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::io::DupFlags;

use super::{LISTENER, Plan};

/// Standard input, output and error, the report, the listener.
const SEATS: usize = 5;

/// Made once; whoever has it may seat a child.
static TABLE: Mutex<Option<Table>> = Mutex::new(None);

struct Table {
    /// What sits where nobody does.
    null: OwnedFd,
    seats: [OwnedFd; SEATS],
}

/// Takes the seats, unless they are taken. The sooner, the lower are their numbers, and the fewer
/// descriptors a child copies along with them.
///
/// # Errors
/// EMFILE; the next start takes them then.
pub fn reserve() -> io::Result<()> {
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    if table.is_none() {
        *table = Some(Table::new()?);
    }
    Ok(())
}

/// Where a child finds its descriptors.
pub(super) struct Given {
    pub(super) stdio: [RawFd; 3],
    pub(super) report: RawFd,
    pub(super) listener: Option<RawFd>,
    /// Above all of these, where the table is shared.
    pub(super) shared_from: Option<RawFd>,
}

impl Given {
    /// The descriptors of `plan` as they are, for a child with a table of its own.
    pub(super) fn as_they_are(plan: &Plan, report: BorrowedFd<'_>) -> Self {
        Self {
            stdio: plan.stdio.each_ref().map(AsRawFd::as_raw_fd),
            report: report.as_raw_fd(),
            listener: plan.listener.as_ref().map(AsRawFd::as_raw_fd),
            shared_from: None,
        }
    }
}

/// A child's descriptors in their seats, until this is dropped.
pub(super) struct Seated(MutexGuard<'static, Option<Table>>);

impl Seated {
    /// Seats the descriptors of `plan`.
    ///
    /// # Errors
    /// fcntl(2)'s and dup3(2)'s: EMFILE.
    pub(super) fn seat(plan: &Plan, report: BorrowedFd<'_>) -> io::Result<(Self, Given)> {
        let mut guard = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        let table = match &mut *guard {
            Some(table) => table,
            none => none.insert(Table::new()?),
        };
        let [stdin, stdout, stderr] = plan.stdio.each_ref().map(AsFd::as_fd);
        let listener = plan.listener.as_ref().map_or(table.null.as_fd(), AsFd::as_fd);
        for (seat, fd) in table.seats.iter_mut().zip([stdin, stdout, stderr, report, listener]) {
            rustix::io::dup3(fd, seat, DupFlags::CLOEXEC)?;
        }
        let [stdin, stdout, stderr, report, listener] =
            table.seats.each_ref().map(AsRawFd::as_raw_fd);
        let last = table.seats.iter().map(AsRawFd::as_raw_fd).max();
        let given = Given {
            stdio: [stdin, stdout, stderr],
            report,
            listener: plan.listener.is_some().then_some(listener),
            shared_from: last.map(|last| last + 1),
        };
        Ok((Self(guard), given))
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let Some(Table { null, seats }) = &mut *self.0 else { return };
        for seat in seats {
            // It cannot fail: both are open.
            let _ = rustix::io::dup3(&*null, seat, DupFlags::CLOEXEC);
        }
    }
}

impl Table {
    fn new() -> io::Result<Self> {
        let null = OwnedFd::from(File::open("/dev/null")?);
        // What the child puts under the listener's number must not be one of them.
        let seat = || rustix::io::fcntl_dupfd_cloexec(&null, LISTENER + 1);
        let seats = [seat()?, seat()?, seat()?, seat()?, seat()?];
        Ok(Self { null, seats })
    }
}
