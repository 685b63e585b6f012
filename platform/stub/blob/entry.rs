//! The places where the kernel enters the stub, and the loop that obeys the platform.
//!
//! Nothing here protects anyone: a guest may rewrite or call all of it, in its own process. The platform checks.

use super::sys::{hypercall, syscall};
use crate::abi::{self, Order, cmd, op};
use core::arch::{asm, naked_asm};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering};

const SYS_MMAP: u64 = 9;
const SYS_MUNMAP: u64 = 11;
const SYS_RT_SIGACTION: u64 = 13;
const SYS_SIGALTSTACK: u64 = 131;
const SYS_FUTEX: u64 = 202;
const SYS_EXIT_GROUP: u64 = 231;
const SYS_MSEAL: u64 = 462;

const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;
const AT_MINSIGSTKSZ: u64 = 51;

/// What a stub stack needs beyond the kernel's largest signal frame.
const STACK_EXTRA: u64 = 8192;

/// Offsets into `ucontext_t` (`sys/ucontext.h`).
mod uc {
    pub const STACK_SP: u64 = 16;
    pub const STACK_FLAGS: u64 = 24;
    pub const STACK_SIZE: u64 = 32;
    pub const FPREGS: u64 = 224;
    pub const SIZE: u64 = 304;
}

/// Offsets into the legacy FXSAVE area: `_fpx_sw_bytes` (`asm/sigcontext.h`).
mod fp {
    pub const MAGIC1: u64 = 464;
    pub const EXTENDED_SIZE: u64 = 468;
    pub const MAGIC1_VALUE: u32 = 0x4650_5853;
    /// A frame with only the legacy area.
    pub const LEGACY_SIZE: u64 = 512;
    /// Nothing the kernel writes is larger; what a guest writes there is cut.
    pub const MAX_SIZE: u64 = 16384;
}

/// # Safety
/// `addr` must be mapped.
#[inline(always)]
unsafe fn load<T: Copy>(addr: u64) -> T {
    // SAFETY: the caller's.
    unsafe { (addr as *const T).read_unaligned() }
}

/// # Safety
/// `addr` must be mapped and writable.
#[inline(always)]
unsafe fn store<T: Copy>(addr: u64, value: T) {
    // SAFETY: the caller's.
    unsafe { (addr as *mut T).write_unaligned(value) }
}

/// Entry point of the program: the kernel's initial stack holds argc, argv, envp and the auxiliary vector.
#[unsafe(naked)]
#[cfg_attr(not(any(test, clippy)), unsafe(no_mangle))]
pub extern "C" fn stub_start() -> ! {
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym start)
}

extern "C" fn start(sp: u64) -> ! {
    let (mut vdso, mut min_stack, mut name) = (0u64, 2048u64, sp);
    // SAFETY: the kernel's layout: argc, argv, NULL, envp, NULL, pairs of the auxiliary vector up to type 0.
    unsafe {
        let mut at = sp + 8 * (load::<u64>(sp) + 2);
        while load::<u64>(at) != 0 {
            at += 8;
        }
        at += 8;
        while load::<u64>(at) != 0 {
            let value = load::<u64>(at + 8);
            match load::<u64>(at) {
                AT_SYSINFO_EHDR => vdso = value,
                AT_MINSIGSTKSZ => min_stack = value,
                AT_EXECFN => name = value,
                _ => {}
            }
            at += 16;
        }
    }
    let mut size = (min_stack + STACK_EXTRA + 4095) & !4095;
    if size > abi::STACK_MAX {
        size = abi::STACK_MAX;
    }
    let alt = [abi::STACK_BASE, 0, size];
    let action = [stub_handler as *const () as u64, SA_FLAGS, stub_restorer as *const () as u64, !0u64];
    // SAFETY: fresh mapping at an address of the stub's own, then pointers to live locals of the kernel's layouts.
    let below = unsafe {
        syscall(SYS_MMAP, [abi::STACK_BASE, size, 3, 0x10_0032, !0, 0]);
        syscall(SYS_SIGALTSTACK, [alt.as_ptr() as u64, 0, 0, 0, 0, 0]);
        // The kick, then SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP.
        for sig in [abi::KICK as u64, 11, 7, 8, 4, 5] {
            syscall(SYS_RT_SIGACTION, [sig, action.as_ptr() as u64, 0, 8, 0, 0]);
        }
        // Careless guests then get an error instead of a stub with a hole. Older kernels answer ENOSYS.
        syscall(SYS_MSEAL, [abi::STACK_BASE, size, 0, 0, 0, 0]);
        syscall(SYS_MSEAL, [abi::TEXT_BASE, 4096, 0, 0, 0, 0]);
        // Where the kernel would put the next mapping.
        let page = syscall(SYS_MMAP, [0, 4096, 0, 0x22, !0, 0]);
        syscall(SYS_MUNMAP, [page, 4096, 0, 0, 0, 0]);
        page + 4096
    };
    // SAFETY: enters the handler, where the platform sees these registers; it never lets the stub go on from here.
    unsafe { asm!("int3", "ud2", in("rdi") vdso, in("rsi") size, in("rdx") below, in("r8") name, options(noreturn)) }
}

/// SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_RESTORER.
const SA_FLAGS: u64 = 0x4 | 0x0800_0000 | 0x1000_0000 | 0x0400_0000;

/// Where `rt_sigreturn` is native.
#[unsafe(naked)]
#[cfg_attr(not(any(test, clippy)), unsafe(no_mangle))]
pub extern "C" fn stub_restorer() -> ! {
    naked_asm!("mov eax, 15", "syscall", ".globl stub_sigreturned", "stub_sigreturned:", "ud2")
}

/// The handler of the kick and of all synchronous faults. A guest's alignment-check flag is cleared first.
#[unsafe(naked)]
#[cfg_attr(not(any(test, clippy)), unsafe(no_mangle))]
pub extern "C" fn stub_handler() {
    naked_asm!(
        "pushfq",
        "and dword ptr [rsp], 0xfffbffff",
        "popfq",
        "mov rcx, rdx",
        "mov rdx, rsi",
        "mov esi, edi",
        "mov edi, {entry}",
        "sub rsp, 8",
        "call {obey}",
        "add rsp, 8",
        "ret",
        entry = const op::ENTRY,
        obey = sym obey_signal,
    )
}

extern "C" fn obey_signal(op: u64, signo: u64, info: u64, uc: u64) {
    obey(op, signo, info, uc, 0);
}

/// First code of a thread that shares memory with its creator, on its own stub stack.
extern "C" fn obey_child(uc: u64, nonce: u64) {
    obey(op::CHILD, 0, 0, uc, nonce);
}

/// Reports and obeys until told to return.
fn obey(mut op: u64, signo: u64, info: u64, uc: u64, mut nonce: u64) {
    let mut orders = MaybeUninit::<[Order; abi::ORDERS_MAX]>::uninit();
    let buffer = orders.as_mut_ptr().cast::<Order>();
    let mut result = info;
    loop {
        let answer = hypercall(op, uc, result, buffer as u64, signo, nonce);
        if answer > -4096i64 as u64 {
            // The platform is gone, or was never there.
            // SAFETY: ends this process.
            unsafe { syscall(SYS_EXIT_GROUP, [1, 0, 0, 0, 0, 0]) };
        }
        let operand = answer >> 8;
        result = 0;
        nonce = 0;
        match answer & 0xff {
            cmd::RUN => {
                for at in 0..(operand as usize).min(abi::ORDERS_MAX) {
                    // SAFETY: in bounds of the buffer, which the platform filled; what it orders is its business.
                    unsafe {
                        let order = buffer.add(at).read_volatile();
                        result = syscall(order.nr, order.args);
                        (&raw mut (*buffer.add(at)).ret).write_volatile(result);
                    }
                }
                op = op::DONE;
            }
            cmd::FORK => {
                // SAFETY: the platform's order; without a stack the child goes on with a copy of this one.
                let order = unsafe { buffer.read_volatile() };
                // SAFETY: as above.
                result = unsafe { syscall(order.nr, order.args) };
                op = op::DONE;
                if result == 0 {
                    op = op::CHILD;
                    nonce = order.args[5];
                }
            }
            cmd::THREAD => {
                // SAFETY: orders 0 and 1 are in the buffer.
                let (order, stack) = unsafe { (buffer.read_volatile(), buffer.add(1).read_volatile()) };
                // SAFETY: the platform mapped that stack for the new thread.
                result = unsafe { start_thread(uc, &order, stack.args[0], stack.args[1]) };
                op = op::DONE;
            }
            cmd::WAIT => {
                // SAFETY: the platform names a word in this process's own slot file.
                let word = unsafe { &*(operand as *const AtomicU32) };
                wait(word);
                op = op::WOKEN;
            }
            cmd::SLEEP => {
                let never = AtomicU32::new(0);
                loop {
                    wait(&never);
                }
            }
            _ => {
                if operand != 0 {
                    set_gs(operand & !1);
                }
                return;
            }
        }
    }
}

/// Sets GS, unless it is the program's own. The platform asks for it only where the processor lets programs do that.
fn set_gs(value: u64) {
    let now: u64;
    // SAFETY: reads a register.
    unsafe { asm!("rdgsbase {}", out(reg) now, options(nomem, nostack, preserves_flags)) };
    if now == 0 || now >> abi::CHANNELS_SHIFT == abi::CHANNELS_BASE >> abi::CHANNELS_SHIFT {
        // SAFETY: nobody else uses GS.
        unsafe { asm!("wrgsbase {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
    }
}

/// Sleeps while `word` is 0.
fn wait(word: &AtomicU32) {
    while word.load(Ordering::Acquire) == 0 {
        // SAFETY: FUTEX_WAIT on a word of our own (not private: the sentry wakes it in its own mapping).
        unsafe { syscall(SYS_FUTEX, [word.as_ptr() as u64, 0, 0, 0, 0, 0]) };
    }
}

/// Copies the signal frame of `uc` to the top of a new stub stack and clones a thread that returns through it.
///
/// # Safety
/// `[base, base + size)` must be mapped, writable and unused.
unsafe fn start_thread(uc: u64, order: &Order, base: u64, size: u64) -> u64 {
    // SAFETY: uc and its extended state were put on this stack by the kernel; sizes are bounded below.
    unsafe {
        let fpregs = load::<u64>(uc + uc::FPREGS);
        let mut fpsize = 0;
        if fpregs != 0 {
            fpsize = fp::LEGACY_SIZE;
            if load::<u32>(fpregs + fp::MAGIC1) == fp::MAGIC1_VALUE {
                fpsize = u64::from(load::<u32>(fpregs + fp::EXTENDED_SIZE)).min(fp::MAX_SIZE);
            }
        }
        // XSAVE areas are aligned to 64 bytes; the kernel expects `uc` 8 above a 16-byte boundary.
        let new_fp = (base + size - fpsize) & !63;
        let new_uc = ((new_fp - uc::SIZE) & !15) - 16;
        super::mem::memcpy(new_uc as *mut u8, uc as *const u8, uc::SIZE as usize);
        if fpregs != 0 {
            super::mem::memcpy(new_fp as *mut u8, fpregs as *const u8, fpsize as usize);
            store(new_uc + uc::FPREGS, new_fp);
        }
        store(new_uc + uc::STACK_SP, base);
        store(new_uc + uc::STACK_FLAGS, 0u64);
        store(new_uc + uc::STACK_SIZE, size);
        let a = order.args;
        clone_onto(a[0], new_uc, a[2], a[3], a[4], a[5])
    }
}

/// `clone` whose child obeys on the stack below `sp` (a saved context) and returns through it.
#[unsafe(naked)]
unsafe extern "C" fn clone_onto(flags: u64, sp: u64, ptid: u64, ctid: u64, tls: u64, nonce: u64) -> u64 {
    naked_asm!(
        "mov r10, rcx",
        "mov eax, 56",
        "syscall",
        "test rax, rax",
        "jz 2f",
        "ret",
        "2:",
        "xor ebp, ebp",
        "mov rbx, rsp",
        "mov rdi, rsp",
        "mov rsi, r9",
        "and rsp, -16",
        "call {child}",
        "mov rsp, rbx",
        "jmp {restorer}",
        child = sym obey_child,
        restorer = sym stub_restorer,
    )
}
