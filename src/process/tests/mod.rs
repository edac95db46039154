//! Real children, a real kernel.

mod adoption;
mod busy;
mod confining;
mod endings;
mod errands;
mod kit;
mod removal;
mod starting;
