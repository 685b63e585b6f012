//! The registers of a guest thread in the order the kernel has them in a signal frame.

/// General registers, in the order of `mcontext_t` (`sys/ucontext.h`), and the FS base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// General register.
    pub r8: u64,
    /// General register.
    pub r9: u64,
    /// General register.
    pub r10: u64,
    /// General register; holds the flags after `syscall`.
    pub r11: u64,
    /// General register.
    pub r12: u64,
    /// General register.
    pub r13: u64,
    /// General register.
    pub r14: u64,
    /// General register.
    pub r15: u64,
    /// First argument.
    pub rdi: u64,
    /// Second argument.
    pub rsi: u64,
    /// Frame pointer.
    pub rbp: u64,
    /// General register.
    pub rbx: u64,
    /// Third argument.
    pub rdx: u64,
    /// System call number and result.
    pub rax: u64,
    /// General register; holds the return address after `syscall`.
    pub rcx: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub eflags: u64,
}
