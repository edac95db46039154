//! The control socket: types, routes and the access each needs, server, client.

pub mod client;
pub mod operations;
pub mod types;
