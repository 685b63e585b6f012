//! A call through shared memory: what rewritten call sites jump to.
//!
//! Entered with the number of the call in `rax` and in `rcx` where the site's code goes on; the call's arguments are
//! where the system call ABI has them, GS is that of the thread. Only what a call may change is changed: `rax`, `rcx`,
//! `r11` (and the flags, which sites that come here do not look at), no stack, so that a signal at any instruction can
//! be taken back or forth. That is the platform's work, by where the instruction is:
//! - before `stub_channel_wait` and from `stub_channel_slow` on nothing has happened yet: back to the site;
//! - at `stub_channel_asked` the zero flag tells which of the two holds;
//! - from `stub_channel_wait` on the channel's word says whether there is a call that nobody has taken (back to the site), that is
//!   under way, or that has been answered (on behind the site). Arguments may be overwritten there; the channel and the
//!   platform have them.

use crate::abi::{CHANNELS_BASE, CHANNELS_SHIFT, channel, state};
use core::arch::naked_asm;

/// How often the word is looked at before the thread sleeps: some 20 us.
const SPINS: u32 = 500;
/// From where the site's code goes on back to where it makes the call by itself.
const SLOW_BEFORE_DONE: u32 = 7;
const SYS_FUTEX: u32 = 202;

/// The code, from the jump in a site's code to the one back.
#[unsafe(naked)]
#[cfg_attr(not(any(test, clippy)), unsafe(no_mangle))]
pub extern "C" fn stub_channel() -> ! {
    naked_asm!(
        // Not where the program has a GS of its own.
        "rdgsbase r11",
        "shr r11, {shift}",
        "cmp r11, {channels}",
        "jne 6f",
        "mov qword ptr gs:[{nr}], rax",
        "mov qword ptr gs:[{args}], rdi",
        "mov qword ptr gs:[{args} + 8], rsi",
        "mov qword ptr gs:[{args} + 16], rdx",
        "mov qword ptr gs:[{args} + 24], r10",
        "mov qword ptr gs:[{args} + 32], r8",
        "mov qword ptr gs:[{args} + 40], r9",
        "mov qword ptr gs:[{done}], rcx",
        "mov r11d, {request}",
        "mov eax, {listening}",
        "lock cmpxchg dword ptr gs:[{state}], r11d",
        ".globl stub_channel_asked",
        "stub_channel_asked:",
        "jne 5f",
        ".globl stub_channel_wait",
        "stub_channel_wait:",
        "2:",
        "mov r11d, {spins}",
        "3:",
        "mov eax, dword ptr gs:[{state}]",
        "cmp eax, {listening}",
        "jbe 4f",
        "cmp eax, {blocked}",
        "je 7f",
        "pause",
        "dec r11d",
        "jnz 3b",
        "7:",
        "mov ecx, eax",
        "or ecx, {asleep}",
        "lock cmpxchg dword ptr gs:[{state}], ecx",
        "jne 2b",
        // futex(&state, FUTEX_WAIT, ecx, NULL); the word is the first of the channel.
        "mov edx, ecx",
        "rdgsbase rdi",
        "xor esi, esi",
        "xor r10d, r10d",
        "mov eax, {futex}",
        "syscall",
        "mov rdi, qword ptr gs:[{args}]",
        "mov rsi, qword ptr gs:[{args} + 8]",
        "mov rdx, qword ptr gs:[{args} + 16]",
        "mov r10, qword ptr gs:[{args} + 24]",
        "jmp 2b",
        "4:",
        "mov rax, qword ptr gs:[{ret}]",
        "mov rcx, qword ptr gs:[{done}]",
        "jmp rcx",
        ".globl stub_channel_slow",
        "stub_channel_slow:",
        "5:",
        "mov rax, qword ptr gs:[{nr}]",
        "6:",
        "sub rcx, {slow}",
        "jmp rcx",
        ".globl stub_channel_end",
        "stub_channel_end:",
        "ud2",
        shift = const CHANNELS_SHIFT,
        channels = const CHANNELS_BASE >> CHANNELS_SHIFT,
        nr = const channel::NR,
        args = const channel::ARGS,
        done = const channel::DONE,
        ret = const channel::RET,
        state = const channel::STATE,
        request = const state::REQUEST,
        listening = const state::LISTENING,
        blocked = const state::BLOCKED,
        asleep = const state::ASLEEP,
        spins = const SPINS,
        futex = const SYS_FUTEX,
        slow = const SLOW_BEFORE_DONE,
    )
}
