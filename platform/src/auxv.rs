//! Facts of the machine from the sentry's own auxiliary vector.
//!
//! Invariant kept here: `getauxval` takes and returns integers; what it returns is not dereferenced.

/// `getauxval(3)`: 0 if there is no such entry.
pub fn auxv(kind: u64) -> u64 {
    // SAFETY: takes an integer.
    unsafe { libc::getauxval(kind) }
}
