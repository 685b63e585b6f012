//! Inode numbers of files that live in no file system: pipes, sockets.

use std::sync::atomic::{AtomicU64, Ordering};

/// The device of sockets, as a fresh Linux numbers it.
pub const SOCKFS: u64 = libc::makedev(0, 8);
/// The device of pipes.
pub const PIPEFS: u64 = libc::makedev(0, 14);

/// A number never given before.
pub fn next_ino() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1024);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
