//! Real children, a real kernel.

mod adoption;
mod busy;
mod endings;
mod kit;
mod starting;
