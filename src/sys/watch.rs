//! Descriptors that the runtime watches.
#![allow(unsafe_code)]

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers `fd` with the runtime.
///
/// # Errors
/// `epoll_ctl(2)`'s.
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and is the same descriptor for as long as the AsyncFd owns it;
    // nobody is given the chance to replace it.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}
