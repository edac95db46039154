//! What the operator wrote, read into validated types; and env files.

mod model;

pub use model::*;
