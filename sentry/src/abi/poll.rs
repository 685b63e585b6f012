//! `struct pollfd` and `struct epoll_event`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct pollfd`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PollFd {
    /// Descriptor; negative ones are skipped.
    pub fd: i32,
    /// What is asked for.
    pub events: u16,
    /// What there is.
    pub revents: u16,
}

/// `struct epoll_event`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct EpollEvent {
    /// Events and flags.
    pub events: u32,
    /// The guest's own.
    pub data: u64,
}
