//! Files and file systems.

pub mod fd_table;
pub mod file;
pub mod path;

pub use fd_table::FdTable;
pub use file::{File, FileOps, OFFSET_APPEND, Written};
