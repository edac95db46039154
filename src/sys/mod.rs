//! What the kernel is asked directly.

pub mod pidfd;
pub mod sockets;
