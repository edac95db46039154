//! What becomes of signals around a clone, on either side of it.
#![allow(unsafe_code)]

use std::{mem::MaybeUninit, ptr};

/// Keeps every signal away from this thread, so that no handler of ours runs in the child.
pub(super) struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    pub(super) fn block() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut old = MaybeUninit::uninit();
        // SAFETY: sigfillset and pthread_sigmask initialise the sets they are given; neither can
        // fail with these arguments.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::sigemptyset(old.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
            Self(old.assume_init())
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled by pthread_sigmask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// Every disposition to its default (ignored signals would stay ignored over execve: Rust ignores
/// SIGPIPE), then an empty mask.
pub(super) unsafe fn reset() {
    // SAFETY: four zero words are the kernel's struct sigaction (handler, flags, restorer, mask of 8
    // bytes) with SIG_DFL; glibc's wrapper would refuse signals 32 and 33. All of these calls are
    // async-signal-safe.
    unsafe {
        let default = [0_u64; 4];
        for signal in 1..=64 {
            let none: *mut u64 = ptr::null_mut();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8);
        }
        let mut empty = MaybeUninit::uninit();
        libc::sigemptyset(empty.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, empty.as_ptr(), ptr::null_mut());
    }
}
