//! Guest memory.

pub mod maps;
mod user;

pub use user::{Addr, StringReader, UserMemory};
