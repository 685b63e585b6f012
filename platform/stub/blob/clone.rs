//! `clone3` of a thread: what its rewritten call sites jump to.
//!
//! Without it a thread that clones has to be brought into the stub by a signal, and its child to leave it by the copy of
//! that signal's frame. Here the clone that the host is to make is a call as any other, with all that counts in
//! registers: the platform looks at it and lets it through. It has left in the caller's channel where the child's stub
//! stack and channel are; the child takes them and shows itself, and is from then on a thread in a call that returns 0.
//! Its creator waits in its channel, as for any call, so that nobody sees an id of which the sentry does not know.
//!
//! Entered as [`stub_channel`](super::channel::stub_channel) is, and left as that is. Where a thread is taken that is stopped in here:
//! - before `stub_clone_copy`, and from `stub_clone_slow` on: back to the site, `rcx` is as at first or in its code;
//! - up to `stub_clone_made`: back to the site, registers may be overwritten and the channel has them; a fault is that of
//!   an argument, and the call is made the other way;
//! - from there on `rax` says whether there was a clone: if so, on behind the site; from `stub_clone_unmade` on there was
//!   none.

use crate::abi::{CHANNELS_BASE, CHANNELS_SHIFT, HYPERCALL, channel, clone, op, shape};
use core::arch::naked_asm;

const SYS_CLONE: u32 = 56;
const SYS_SIGALTSTACK: u32 = 131;

/// Offsets into `struct clone_args` (`linux/sched.h`), and its size in its third version.
mod args {
    pub const FLAGS: u32 = 0;
    pub const CHILD_TID: u32 = 16;
    pub const EXIT_SIGNAL: u32 = 32;
    pub const STACK: u32 = 40;
    pub const STACK_SIZE: u32 = 48;
    pub const TLS: u32 = 56;
    pub const SET_TID: u32 = 64;
    pub const SET_TID_SIZE: u32 = 72;
    pub const SIZE: u32 = 88;
}

/// The code, from the jump in a site's code to the one back.
#[unsafe(naked)]
#[cfg_attr(not(any(test, clippy)), unsafe(no_mangle))]
pub extern "C" fn stub_clone() -> ! {
    naked_asm!(
        "rdgsbase r11",
        "shr r11, {channels_shift}",
        "cmp r11, {channels}",
        "jne 9f",
        "cmp rsi, {args_size}",
        "jne 9f",
        "mov dword ptr gs:[{nr}], eax",
        "mov qword ptr gs:[{args}], rdi",
        "mov qword ptr gs:[{args} + 8], rsi",
        "mov qword ptr gs:[{args} + 16], rdx",
        "mov qword ptr gs:[{args} + 24], r10",
        "mov qword ptr gs:[{more_args}], r8",
        "mov qword ptr gs:[{more_args} + 8], r9",
        "mov dword ptr gs:[{done}], ecx",
        ".globl stub_clone_copy",
        "stub_clone_copy:",
        // Only what C libraries ask for.
        "xor eax, eax",
        "cmp qword ptr [rdi + {flags_at}], {flags}",
        "jne 8f",
        "cmp qword ptr [rdi + {exit_signal}], rax",
        "jne 8f",
        "cmp qword ptr [rdi + {set_tid}], rax",
        "jne 8f",
        "cmp qword ptr [rdi + {set_tid_size}], rax",
        "jne 8f",
        "mov rsi, qword ptr [rdi + {stack}]",
        "add rsi, qword ptr [rdi + {stack_size}]",
        "mov r10, qword ptr [rdi + {child_tid}]",
        "mov r8, qword ptr [rdi + {tls}]",
        "mov edi, {host_flags}",
        "mov eax, {clone}",
        "syscall",
        ".globl stub_clone_made",
        "stub_clone_made:",
        "test rax, rax",
        "jnz 5f",
        // The child, which has its creator's GS: sigaltstack(what the platform left there, NULL).
        "rdgsbase rdi",
        "add rdi, {child_stack}",
        "xor esi, esi",
        "mov eax, {sigaltstack}",
        "syscall",
        "mov r9, qword ptr gs:[{nonce}]",
        "mov rax, qword ptr gs:[{child_channel}]",
        "wrgsbase rax",
        "mov edi, {child}",
        "mov eax, {hypercall}",
        "syscall",
        // Both, each with its own channel.
        "5:",
        "mov rdi, qword ptr gs:[{args}]",
        "mov rsi, qword ptr gs:[{args} + 8]",
        "mov rdx, qword ptr gs:[{args} + 16]",
        "mov r10, qword ptr gs:[{args} + 24]",
        "mov r8, qword ptr gs:[{more_args}]",
        "mov r9, qword ptr gs:[{more_args} + 8]",
        "test rax, rax",
        "jns stub_channel_wait",
        ".globl stub_clone_unmade",
        "stub_clone_unmade:",
        "8:",
        "mov ecx, dword ptr gs:[{done}]",
        ".globl stub_clone_slow",
        "stub_clone_slow:",
        "9:",
        "and ecx, {address}",
        "mov cl, {slow}",
        "jmp rcx",
        ".globl stub_clone_end",
        "stub_clone_end:",
        "ud2",
        channels_shift = const CHANNELS_SHIFT,
        channels = const CHANNELS_BASE >> CHANNELS_SHIFT,
        nr = const channel::NR,
        args = const channel::ARGS,
        more_args = const channel::MORE_ARGS,
        done = const channel::DONE,
        nonce = const channel::CHILD_NONCE,
        child_channel = const channel::CHILD_CHANNEL,
        child_stack = const channel::CHILD_STACK,
        args_size = const args::SIZE,
        flags_at = const args::FLAGS,
        exit_signal = const args::EXIT_SIGNAL,
        set_tid = const args::SET_TID,
        set_tid_size = const args::SET_TID_SIZE,
        stack = const args::STACK,
        stack_size = const args::STACK_SIZE,
        child_tid = const args::CHILD_TID,
        tls = const args::TLS,
        flags = const clone::FLAGS,
        host_flags = const clone::HOST_FLAGS,
        clone = const SYS_CLONE,
        sigaltstack = const SYS_SIGALTSTACK,
        child = const op::CHILD,
        hypercall = const HYPERCALL,
        address = const shape::ADDRESS,
        slow = const shape::SLOW,
    )
}
