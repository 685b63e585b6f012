//! `rt_sigaction(2)` without a call: what rewritten call sites of it jump to.
//!
//! The platform lends the only thread of a process the process's signal actions: a table, of which a word of the thread's
//! channel has the address (see [`sigactions`]). An action is too long to be changed at once. So the new one is put
//! beside the table first, and one atomic instruction says in the word that it holds, unless the table has been taken back;
//! then it is copied into the table, and the word says that no more. Whoever takes the table back meanwhile takes what is
//! beside it for what the word names.
//!
//! Entered, left and stopped as [`stub_sigmask`](super::sigmask::stub_sigmask), of whose code the ends are: the flags are
//! in `ax` from `stub_sigaction_flags` on, and in the channel, where `rcx` is too, from `stub_sigaction_kept` on. At
//! `stub_sigaction_made` the zero flag tells whether the action was changed, from `stub_sigaction_done` on it was. Before
//! that only the action that was may have been written to where it was asked for, which can be done again, for it is not
//! done where the new one is read.

use crate::abi::{CHANNELS_BASE, CHANNELS_SHIFT, channel, sigactions};
use core::arch::naked_asm;

/// The code, from the jump in a site's code to where the ends are.
#[unsafe(naked)]
#[cfg_attr(not(any(test, clippy)), unsafe(no_mangle))]
pub extern "C" fn stub_sigaction() -> ! {
    naked_asm!(
        "rdgsbase r11",
        "lahf",
        "seto al",
        ".globl stub_sigaction_flags",
        "stub_sigaction_flags:",
        "shr r11, {channels_shift}",
        "cmp r11, {channels}",
        "jne stub_sigmask_slow",
        "mov dword ptr gs:[{flags}], eax",
        "mov dword ptr gs:[{done}], ecx",
        ".globl stub_sigaction_kept",
        "stub_sigaction_kept:",
        "cmp r10, {set_size}",
        "jne stub_sigmask_failed",
        // Where the action is, unless one is beside the table still.
        "lea ecx, [rdi - 1]",
        "cmp ecx, {signals}",
        "jae stub_sigmask_failed",
        "mov eax, dword ptr gs:[{table}]",
        "test eax, eax",
        "jz stub_sigmask_failed",
        "test eax, {beside}",
        "jnz stub_sigmask_failed",
        "shl ecx, 5",
        "add ecx, eax",
        "test rsi, rsi",
        "jz 2f",
        "cmp edi, {kill}",
        "je stub_sigmask_failed",
        "cmp edi, {stop}",
        "je stub_sigmask_failed",
        // A new action that the old one would be written to could not be read again.
        "mov r11, rdx",
        "sub r11, rsi",
        "add r11, {size} - 1",
        "cmp r11, 2 * {size} - 1",
        "jb stub_sigmask_failed",
        "mov r11, qword ptr [rsi]",
        "mov qword ptr gs:[{new}], r11",
        "mov r11d, dword ptr [rsi + 8]",
        "and r11d, {known}",
        "mov qword ptr gs:[{new} + 8], r11",
        "mov r11, qword ptr [rsi + 16]",
        "mov qword ptr gs:[{new} + 16], r11",
        "mov r11, qword ptr [rsi + 24]",
        "btr r11, {kill} - 1",
        "btr r11, {stop} - 1",
        "mov qword ptr gs:[{new} + 24], r11",
        "2:",
        "test rdx, rdx",
        "jz 3f",
        "mov r11, qword ptr [rcx]",
        "mov qword ptr [rdx], r11",
        "mov r11, qword ptr [rcx + 8]",
        "mov qword ptr [rdx + 8], r11",
        "mov r11, qword ptr [rcx + 16]",
        "mov qword ptr [rdx + 16], r11",
        "mov r11, qword ptr [rcx + 24]",
        "mov qword ptr [rdx + 24], r11",
        "3:",
        "test rsi, rsi",
        "jz stub_sigmask_done",
        "lea r11d, [rax + rdi]",
        "lock cmpxchg dword ptr gs:[{table}], r11d",
        ".globl stub_sigaction_made",
        "stub_sigaction_made:",
        "jne stub_sigmask_failed",
        ".globl stub_sigaction_done",
        "stub_sigaction_done:",
        "mov r11, qword ptr gs:[{new}]",
        "mov qword ptr [rcx], r11",
        "mov r11, qword ptr gs:[{new} + 8]",
        "mov qword ptr [rcx + 8], r11",
        "mov r11, qword ptr gs:[{new} + 16]",
        "mov qword ptr [rcx + 16], r11",
        "mov r11, qword ptr gs:[{new} + 24]",
        "mov qword ptr [rcx + 24], r11",
        // It stays 0 if the table has been taken back.
        "lock and dword ptr gs:[{table}], ~{beside}",
        "jmp stub_sigmask_done",
        ".globl stub_sigaction_end",
        "stub_sigaction_end:",
        "ud2",
        channels_shift = const CHANNELS_SHIFT,
        channels = const CHANNELS_BASE >> CHANNELS_SHIFT,
        done = const channel::SIGMASK_DONE,
        flags = const channel::SIGMASK_FLAGS,
        table = const channel::SIGACTIONS,
        new = const channel::SIGACTION,
        beside = const sigactions::BESIDE,
        signals = const sigactions::COUNT,
        size = const sigactions::SIZE,
        known = const sigactions::KNOWN_FLAGS,
        kill = const sigactions::KILL,
        stop = const sigactions::STOP,
        set_size = const 8,
    )
}
