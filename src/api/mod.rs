//! The control socket: types, routes and the access each needs, server, client.

mod access;
mod answer;
pub mod apps;
pub mod client;
pub mod deploys;
mod dispatch;
pub mod explain;
mod listen;
mod manage;
mod openapi;
pub mod operations;
mod patience;
mod problem;
mod relisten;
mod request;
mod route;
pub mod sent;
mod server;
#[cfg(test)]
mod tests;
pub mod types;

pub use listen::{Heir, ListenError};
pub use relisten::{Caretaker, Socket};
pub use server::{Limits, Server};
