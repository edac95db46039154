//! Another program in this process's place: execve(2).
#![allow(unsafe_code)]

use std::{
    ffi::{CString, OsString},
    io,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Signals that are kept for the new program until it listens for them: their default is its end.
const KEPT: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Runs `argv` in this process's place, with its environment and with `inherited` open. Signals
/// that ask for an end are kept back until [`let_signals_in`].
///
/// Returns only when that failed; this process is as it was then, but for `inherited`.
#[must_use]
pub fn replace(argv: Vec<OsString>, inherited: &[OwnedFd]) -> io::Error {
    let words: Result<Vec<CString>, _> =
        argv.into_iter().map(|word| CString::new(word.into_vec())).collect();
    let Ok(words) = words else { return io::ErrorKind::InvalidInput.into() };
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let Some(program) = words.first() else { return io::ErrorKind::InvalidInput.into() };
    for fd in inherited {
        if let Err(e) = fcntl_setfd(fd, FdFlags::empty()) {
            return e.into();
        }
    }
    mask(libc::SIG_BLOCK);
    // SAFETY: `program` and `pointers` end with a zero and outlive the call; `execv` returns only on
    // an error, and changes nothing of this process then.
    unsafe { libc::execv(program.as_ptr(), pointers.as_ptr()) };
    let error = io::Error::last_os_error();
    mask(libc::SIG_UNBLOCK);
    error
}

/// Takes the signals that [`replace`] kept back.
pub fn let_signals_in() {
    mask(libc::SIG_UNBLOCK);
}

fn mask(how: libc::c_int) {
    // SAFETY: the set is made by `sigemptyset` before it is read, and all pointers are to locals or
    // null, as pthread_sigmask(3) and sigsetops(3) allow.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        for signal in KEPT {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut());
    }
}

/// The descriptor that a predecessor left open at `number`, for nobody else from now on.
///
/// # Errors
/// `EBADF` where there is none.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a number says nothing of who owns it; this one is asked for once, before anything else
    // was opened, and is checked below before it is used.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let checked = fcntl_getfd(fd.as_fd()).and_then(|_| fcntl_setfd(&fd, FdFlags::CLOEXEC));
    match checked {
        Ok(()) => Ok(fd),
        Err(e) => {
            // It is not open, so that there is nothing to close.
            std::mem::forget(fd);
            Err(e.into())
        }
    }
}
