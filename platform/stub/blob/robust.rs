//! `set_robust_list(2)` without a call: what rewritten call sites of it jump to. The platform needs what it says only when
//! the thread ends, and finds it in its channel then.
//!
//! Entered with the place in `rcx` where the site's code goes on; nothing but `rax`, `rcx` and `r11` is changed in the
//! end, not even the flags. A stop anywhere is taken back to the site, for all of it may be done twice: the flags are as
//! at first before `stub_robust_flags`, and in `ax` from there on. At `stub_robust_done` it is over.

use crate::abi::{CHANNELS_BASE, CHANNELS_SHIFT, channel};
use core::arch::naked_asm;

/// Size of a `struct robust_list_head`.
const HEAD_SIZE: u32 = 24;

/// The code, from the jump in a site's code to the one back.
#[unsafe(naked)]
#[cfg_attr(not(any(test, clippy)), unsafe(no_mangle))]
pub extern "C" fn stub_robust() -> ! {
    naked_asm!(
        "rdgsbase r11",
        "lahf",
        "seto al",
        ".globl stub_robust_flags",
        "stub_robust_flags:",
        "shr r11, {channels_shift}",
        "cmp r11, {channels}",
        "jne stub_sigmask_slow",
        "cmp rsi, {head_size}",
        "jne stub_sigmask_slow",
        "test rdi, rdi",
        "jz stub_sigmask_slow",
        "mov qword ptr gs:[{robust}], rdi",
        "add al, 127",
        "sahf",
        "mov eax, 0",
        ".globl stub_robust_done",
        "stub_robust_done:",
        "jmp rcx",
        ".globl stub_robust_end",
        "stub_robust_end:",
        "ud2",
        channels_shift = const CHANNELS_SHIFT,
        channels = const CHANNELS_BASE >> CHANNELS_SHIFT,
        head_size = const HEAD_SIZE,
        robust = const channel::ROBUST,
    )
}
