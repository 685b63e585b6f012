//! How this process takes memory from the host.

/// Has large allocations mapped each on its own, now and for ever: they are zero without being written, and go back to
/// the host when they are freed. (By itself the C library begins to recycle them.)
pub fn map_large_allocations() {
    /// From which size on.
    const LARGE: libc::c_int = 128 << 10;
    // SAFETY: it takes two numbers and changes how the allocator works, not what it has given out.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}
