//! Raw system calls.

use crate::abi;
use core::arch::asm;

/// # Safety
/// The call must be sound with these arguments.
#[inline(always)]
pub unsafe fn syscall(nr: u64, a: [u64; 6]) -> u64 {
    let ret;
    // SAFETY: the caller vouches for the call; rcx and r11 are the only other registers changed.
    unsafe {
        asm!("syscall", inlateout("rax") nr => ret, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
             in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

/// Tells the platform something and takes its command.
pub fn hypercall(op: u64, a: u64, b: u64, c: u64, d: u64, nonce: u64) -> u64 {
    // SAFETY: the host has no call of this number; only the platform answers it.
    unsafe { syscall(abi::HYPERCALL, [op, a, b, c, d, nonce]) }
}
