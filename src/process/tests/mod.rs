//! Real children, a real kernel.

mod adoption;
mod endings;
mod kit;
mod starting;
