//! Inode numbers of files that live in no file system: pipes, sockets.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number never given before.
pub fn next_ino() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1024);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
