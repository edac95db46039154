//! Raw system calls, and the only unsafe code. Knows nothing of services or instances.

pub mod blocking;
pub mod cgroup;
pub mod clock;
pub mod confine;
pub mod exec;
#[cfg(test)]
pub mod fake;
pub mod inotify;
pub mod kernel;
pub mod landlock;
pub mod limits;
pub mod listener;
pub mod memory;
pub mod pidfd;
pub mod place;
pub mod proc;
pub mod session;
pub mod sockets;
pub mod spawn;
pub mod turning;
pub mod wall_clock;
pub mod watch;
