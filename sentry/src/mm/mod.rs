//! Guest memory.

mod user;

pub use user::{Addr, UserMemory};
