//! What the operator wrote, read into validated types; and env files.

mod model;
mod standin;

pub use model::*;
pub use standin::*;
