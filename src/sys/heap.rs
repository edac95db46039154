//! How glibc keeps the daemon's memory: mallopt(3), `malloc_trim(3)`. Elsewhere nothing is done.
#![allow(unsafe_code)]

/// One heap for all threads. Each would get one of its own, of which little is ever used; the threads
/// beside the daemon's only busy one do not contend for it. Call it before there is another thread.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a parameter, while no other thread allocates.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives the system back what is not used: coming up takes more than staying up.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the heap's own lock and moves nothing that is used.
    unsafe {
        libc::malloc_trim(0);
    }
}
