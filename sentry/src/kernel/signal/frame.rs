//! Signal frames on guest stacks: `arch/x86/kernel/signal_64.c`.

use super::{AltStack, SA_RESTORER, SS_AUTODISARM, SigAction, SigInfo, SigSet};
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::mm::Addr;
use platform::{Fault, Registers};
use std::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Below the stack pointer, belongs to leaf functions (System V ABI).
const RED_ZONE: u64 = 128;

/// `struct sigcontext`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SigContext {
    regs: [u64; 18],
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

/// `struct ucontext`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct UContext {
    flags: u64,
    link: u64,
    stack: AltStack,
    mcontext: SigContext,
    sigmask: SigSet,
}

/// `struct rt_sigframe`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Frame {
    restorer: u64,
    uc: UContext,
    info: SigInfo,
}

/// User code and stack segments.
const USER_CS: u16 = 0x33;
const USER_DS: u16 = 0x2b;
/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`.
const UC_FLAGS: u64 = 1 | 2 | 4;

/// Direction, resume and trap flags are clear when a handler starts.
const CLEARED_FLAGS: u64 = 0x400 | 0x1_0000 | 0x100;

fn to_array(r: &Registers) -> [u64; 18] {
    [
        r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax, r.rcx, r.rsp,
        r.rip, r.eflags,
    ]
}

fn from_array(a: [u64; 18]) -> Registers {
    let [r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags] = a;
    Registers { r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags }
}

/// Writes the frame for a handler and points the registers of the stopped thread at it. `EFAULT` if the stack
/// does not take it: then SIGSEGV is due.
pub(super) fn push(t: &Task, action: &SigAction, info: &SigInfo, mask: SigSet, fault: Option<&Fault>) -> SysResult<()> {
    if action.flags & SA_RESTORER == 0 {
        return Err(Errno::FAULT);
    }
    let thread = t.thread();
    let mut regs = thread.registers()?;
    let fpstate = thread.fpstate()?;
    let altstack = t.altstack();
    let on_alt = action.has(libc::SA_ONSTACK) && altstack.flags & libc::SS_DISABLE == 0;
    let mut sp = regs.rsp.wrapping_sub(RED_ZONE);
    let nested = altstack.contains(regs.rsp);
    if on_alt && !nested {
        sp = altstack.sp.wrapping_add(altstack.size);
    }
    let fp = sp.wrapping_sub(fpstate.len() as u64) & !63;
    let frame = (fp.wrapping_sub(size_of::<Frame>() as u64) & !15).wrapping_sub(8);
    if on_alt && (nested || altstack.flags & libc::SS_DISABLE == 0) && frame < altstack.sp && altstack.contains(sp) {
        return Err(Errno::FAULT);
    }
    let fault = fault.copied().unwrap_or(Fault { signo: 0, code: 0, addr: 0, err: 0, trapno: 0, cr2: 0 });
    let shown = AltStack {
        flags: altstack.flags & (SS_AUTODISARM | libc::SS_DISABLE) | on_stack_flag(&altstack, regs.rsp),
        ..altstack
    };
    let mcontext = SigContext {
        regs: to_array(&regs),
        cs: USER_CS,
        gs: 0,
        fs: 0,
        ss: USER_DS,
        err: fault.err,
        trapno: fault.trapno,
        oldmask: mask.0,
        cr2: fault.cr2,
        fpstate: if fpstate.is_empty() { 0 } else { fp },
        reserved: [0; 8],
    };
    let uc = UContext { flags: UC_FLAGS, link: 0, stack: shown, mcontext, sigmask: mask };
    let mem = t.mem();
    mem.write_bytes(Addr(fp), &fpstate)?;
    mem.write(Addr(frame), &Frame { restorer: action.restorer, uc, info: *info })?;
    if on_alt && altstack.flags & SS_AUTODISARM != 0 {
        t.signals().altstack = AltStack::default();
    }
    regs.rsp = frame;
    regs.rip = action.handler;
    regs.rax = 0;
    regs.rdi = info.signo as u64;
    regs.rsi = frame + std::mem::offset_of!(Frame, info) as u64;
    regs.rdx = frame + std::mem::offset_of!(Frame, uc) as u64;
    regs.eflags &= !CLEARED_FLAGS;
    Ok(thread.set_registers(&regs)?)
}

fn on_stack_flag(altstack: &AltStack, sp: u64) -> i32 {
    if altstack.flags & libc::SS_DISABLE == 0 && altstack.contains(sp) { libc::SS_ONSTACK } else { 0 }
}

/// `rt_sigreturn(2)` of a stopped thread: registers, extended state, mask and alternate stack as the frame at its
/// stack pointer has them. Everything read there is the guest's word.
pub(crate) fn pop(t: &Task) -> SysResult<()> {
    let thread = t.thread();
    let regs = thread.registers()?;
    let uc: UContext = t.mem().read(Addr(regs.rsp))?;
    let own = thread.fpstate()?;
    let state = match uc.mcontext.fpstate {
        0 => initial_fpstate(&own),
        addr => read_fpstate(t, Addr(addr), &own)?,
    };
    thread.set_fpstate(&state)?;
    thread.set_registers(&from_array(uc.mcontext.regs))?;
    {
        let mut signals = t.signals();
        if !signals.altstack.contains(regs.rsp) || signals.altstack.flags & libc::SS_DISABLE != 0 {
            let flags = uc.stack.flags & (SS_AUTODISARM | libc::SS_DISABLE);
            signals.altstack = AltStack { flags, ..uc.stack };
        }
    }
    t.set_sigmask(uc.sigmask);
    Ok(())
}

/// The legacy area of extended state (`struct _fpstate_64`): its size, and what is at which place in it.
const LEGACY: usize = 512;
const MXCSR: Range<usize> = 24..28;
const MXCSR_MASK: Range<usize> = 28..32;
/// The kernel's own words, which say how much state there is.
const SOFTWARE: Range<usize> = 464..512;

fn word(state: &[u8], at: Range<usize>) -> u32 {
    state.get(at).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Reads the extended state that a frame points at: the legacy area at least, all of it if it is there. `own` is what
/// the thread has now.
fn read_fpstate(t: &Task, addr: Addr, own: &[u8]) -> SysResult<Vec<u8>> {
    /// What processors take that do not say what they take.
    const USUAL_MASK: u32 = 0xffbf;
    let mut state = vec![0; own.len().max(LEGACY)];
    let got = t.mem().read_partial(addr, &mut state)?;
    if got < LEGACY {
        return Err(Errno::FAULT);
    }
    state.truncate(got);
    let mask = Some(word(own, MXCSR_MASK)).filter(|mask| *mask != 0).unwrap_or(USUAL_MASK);
    // The processor refuses reserved bits.
    if word(&state, MXCSR) & !mask == 0 { Ok(state) } else { Err(Errno::FAULT) }
}

/// What a program starts with, in the form of `own`: a frame without extended state has it.
fn initial_fpstate(own: &[u8]) -> Vec<u8> {
    const CONTROL: [u8; 2] = 0x37f_u16.to_le_bytes();
    const MXCSR_DEFAULT: [u8; 4] = 0x1f80_u32.to_le_bytes();
    let mut state = vec![0; own.len().max(LEGACY)];
    let mut put = |at: Range<usize>, bytes: &[u8]| {
        if let Some(place) = state.get_mut(at).filter(|place| place.len() == bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0..2, &CONTROL);
    put(MXCSR, &MXCSR_DEFAULT);
    for kept in [MXCSR_MASK, SOFTWARE] {
        put(kept.clone(), own.get(kept).unwrap_or_default());
    }
    state
}
