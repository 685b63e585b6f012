//! Files and file systems.

pub mod anon;
pub mod epoll;
pub mod eventfd;
pub mod fd_table;
pub mod file;
pub mod inotify;
pub mod path;
pub mod pipe;
pub mod ring;
pub mod timerfd;

pub use fd_table::FdTable;
pub use file::{File, FileOps, OFFSET_APPEND, Written};
