//! The sentry: Linux, implemented in user space for one sandbox, without unsafe code.
//!
//! A guest thread is a [`kernel::Task`] whose future takes events from the [`platform`], answers system calls
//! through [`syscalls`], and delivers signals. Files live in [`fs`], sockets in [`net`].

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")
)]

pub mod abi;
pub mod boot;
pub mod errno;
pub mod executor;
pub mod fs;
pub mod ipc;
pub mod kernel;
pub mod loader;
pub mod mm;
pub mod net;
pub mod seccomp;
pub mod spare;
pub mod stats;
pub mod strace;
pub mod sync;
pub mod syscalls;
pub mod timings;

pub use errno::{Errno, SysResult};
