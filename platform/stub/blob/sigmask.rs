//! `rt_sigprocmask(2)` without a call: what rewritten call sites of it jump to.
//!
//! While no signal is pending that could be let in, the platform lends a thread its mask: a word of its channel has it,
//! with a bit that says so (see [`sigmask`]). One atomic instruction changes the mask unless it has been taken back.
//!
//! Entered with the place in `rcx` where the site's code goes on; nothing but `rax`, `rcx` and `r11` is changed in the
//! end, not even the flags, for a site may look at them. A signal at any instruction can be taken back to the site or
//! forth behind it:
//! - before `stub_sigmask_flags` the flags are as at first, from there on they are in `ax`, from `stub_sigmask_kept` on
//!   in the channel, where `rcx` is too, and from `stub_sigmask_slow` on in `ax` again, with `rcx` in the site's code;
//! - at `stub_sigmask_made` the zero flag tells whether the mask was changed; from `stub_sigmask_done` to
//!   `stub_sigmask_unmade` it was. Nothing has happened elsewhere: the mask that was may have been written, which can be
//!   done again. A fault is one of the call's arguments, and the call is made the other way.

use crate::abi::{CHANNELS_BASE, CHANNELS_SHIFT, channel, shape, sigmask};
use core::arch::naked_asm;

/// The code, from the jump in a site's code to the one back.
#[unsafe(naked)]
#[cfg_attr(not(any(test, clippy)), unsafe(no_mangle))]
pub extern "C" fn stub_sigmask() -> ! {
    naked_asm!(
        "rdgsbase r11",
        "lahf",
        "seto al",
        ".globl stub_sigmask_flags",
        "stub_sigmask_flags:",
        "shr r11, {channels_shift}",
        "cmp r11, {channels}",
        "jne 9f",
        "mov dword ptr gs:[{flags}], eax",
        "mov dword ptr gs:[{done}], ecx",
        ".globl stub_sigmask_kept",
        "stub_sigmask_kept:",
        "cmp r10, {set_size}",
        "jne 8f",
        "mov rax, qword ptr gs:[{mask}]",
        "bt eax, {lent}",
        "jnc 8f",
        "test rsi, rsi",
        "jz 6f",
        // A new set that the old one would be written to could not be read again.
        "mov r11, rdx",
        "sub r11, rsi",
        "add r11, {set_size} - 1",
        "cmp r11, 2 * {set_size} - 1",
        "jb 8f",
        "mov rcx, qword ptr [rsi]",
        // SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK.
        "test edi, edi",
        "jz 2f",
        "cmp edi, 1",
        "je 3f",
        "cmp edi, 2",
        "jne 8f",
        "jmp 4f",
        "2:",
        "or rcx, rax",
        "jmp 4f",
        "3:",
        "not rcx",
        "and rcx, rax",
        "4:",
        "btr rcx, {stop}",
        "bts rcx, {lent}",
        "test rdx, rdx",
        "jz 5f",
        "mov r11, rax",
        "btr r11, {lent}",
        "mov qword ptr [rdx], r11",
        "5:",
        "lock cmpxchg qword ptr gs:[{mask}], rcx",
        ".globl stub_sigmask_made",
        "stub_sigmask_made:",
        "jne 8f",
        ".globl stub_sigmask_done",
        "stub_sigmask_done:",
        "7:",
        "mov ecx, dword ptr gs:[{done}]",
        "mov eax, dword ptr gs:[{flags}]",
        "add al, 127",
        "sahf",
        "mov eax, 0",
        "jmp rcx",
        ".globl stub_sigmask_unmade",
        "stub_sigmask_unmade:",
        // Only the old set is asked for.
        "6:",
        "test rdx, rdx",
        "jz 7b",
        "btr rax, {lent}",
        "mov qword ptr [rdx], rax",
        "jmp 7b",
        ".globl stub_sigmask_failed",
        "stub_sigmask_failed:",
        "8:",
        "mov ecx, dword ptr gs:[{done}]",
        "mov eax, dword ptr gs:[{flags}]",
        ".globl stub_sigmask_slow",
        "stub_sigmask_slow:",
        "9:",
        "mov cl, {slow}",
        "add al, 127",
        "sahf",
        "jmp rcx",
        ".globl stub_sigmask_end",
        "stub_sigmask_end:",
        "ud2",
        channels_shift = const CHANNELS_SHIFT,
        channels = const CHANNELS_BASE >> CHANNELS_SHIFT,
        mask = const channel::SIGMASK,
        done = const channel::SIGMASK_DONE,
        flags = const channel::SIGMASK_FLAGS,
        set_size = const 8,
        lent = const sigmask::LENT,
        stop = const sigmask::STOP,
        slow = const shape::SLOW,
    )
}
