//! The memory functions that rustc may call and that nobody else provides here.

use core::arch::asm;

/// # Safety
/// As for C's `memcpy`.
#[cfg_attr(not(any(test, clippy)), unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(dst: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller gives two valid, disjoint ranges of n bytes; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rcx") n => _, inout("rdi") dst => _, inout("rsi") src => _,
             options(nostack, preserves_flags));
    };
    dst
}

/// # Safety
/// As for C's `memset`.
#[cfg_attr(not(any(test, clippy)), unsafe(no_mangle))]
pub unsafe extern "C" fn memset(dst: *mut u8, c: i32, n: usize) -> *mut u8 {
    // SAFETY: the caller gives a valid range of n bytes; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep stosb", inout("rcx") n => _, inout("rdi") dst => _, in("al") c as u8,
             options(nostack, preserves_flags));
    };
    dst
}
