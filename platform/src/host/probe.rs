//! Questions to the host that have no safe wrapper.

/// Whether the host has `mseal(2)`.
pub fn has_mseal() -> bool {
    // SAFETY: a range of length 0 names no memory, so nothing is sealed.
    unsafe { libc::syscall(libc::SYS_mseal, 0, 0, 0) == 0 }
}
