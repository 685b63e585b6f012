//! Files and file systems.
//!
//! A [`walk`] follows a path through [`dentry`]s and [`mount`]s to an [`inode`]; [`open`] makes a [`file`] of
//! it, [`namei`] changes names. The file systems themselves: [`tmpfs`], [`overlay`], [`host`], [`dev`].

pub mod access;
pub mod anon;
pub mod attr;
pub mod boot;
pub mod budget;
mod cgroupfs;
pub(crate) mod counters;
pub mod dentry;
pub mod dev;
pub mod devpts;
pub mod dnotify;
pub mod epoll;
pub mod eventfd;
pub mod fasync;
pub mod fd_table;
pub mod file;
pub mod host;
pub mod host_events;
pub mod host_stdio;
pub mod inode;
pub mod inotify;
pub mod lease;
pub mod lock;
pub mod memfd;
pub mod mount;
pub mod namei;
pub mod notify;
pub mod nsfs;
pub mod open;
pub mod overlay;
pub mod path;
pub mod pidfd;
pub mod pipe;
mod pressure;
pub mod proc;
pub mod pseudo;
pub mod readdir;
pub mod ring;
mod room;
pub mod signalfd;
pub mod special;
pub mod superblock;
pub mod sysfs;
pub mod timerfd;
pub mod tmpfs;
pub mod view;
pub mod walk;

pub use attr::{Attr, FileKind};
pub use fd_table::FdTable;
pub use file::{File, FileOps, OFFSET_APPEND, Written};
pub use inode::{Caller, FileSystem, Inode};

#[cfg(test)]
mod tests;
