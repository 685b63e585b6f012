//! Structures that cross the border to guests, in the layout of x86-64 Linux.
//!
//! Constants come from `libc`; structures are our own, for they need `zerocopy`'s guarantees.

mod poll;
mod time;

pub use poll::{EpollEvent, PollFd};
pub use time::{Timespec, Timeval};
