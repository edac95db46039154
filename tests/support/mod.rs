//! What the scenarios stand on: a stage with real parts, and a load that counts what is lost.

mod command;
mod ctl;
mod fetch;
pub mod load;
mod notify;
mod places;
mod ports;
pub mod postgres;
mod processes;
mod proxy;
mod releases;
mod reloads;
mod settings;
mod shop;
mod small_disk;
mod stage;

mod wait;

pub use command::{Output, Running, run};
pub use fetch::fetch;
pub use places::{newer_nginx, root, target, venv};
pub use ports::Ports;
pub use postgres::{ALEMBIC_ENV, Postgres};
pub use processes::{Onlooker, children_of, ends, is_alive, is_reaped, kill, listener_on};
pub use proxy::{Nginx, Site};
pub use releases::Releases;
pub use settings::Settings;
pub use shop::Shop;
pub use small_disk::SmallDisk;
pub use stage::Stage;
pub use wait::{LONG, wait_for};
