//! Real children, a real kernel.

mod adoption;
mod busy;
mod confining;
mod endings;
mod kit;
mod starting;
