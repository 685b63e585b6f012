//! The signal frame on a stub stack, as seen from outside. All that is read from it is a guest's word.

use super::process::HostProcess;
use crate::{Fault, Registers};

/// Offsets into `ucontext_t` (`sys/ucontext.h`).
const GREGS: u64 = 40;
const RAX: u64 = GREGS + 13 * 8;
const RIP: u64 = GREGS + 16 * 8;
const ERR: u64 = GREGS + 19 * 8;
const FPREGS: u64 = 224;
const SIGMASK: u64 = 296;

/// `_fpx_sw_bytes` in the legacy area (`asm/sigcontext.h`).
const FP_MAGIC1_AT: usize = 464;
const FP_SIZE_AT: usize = 468;
const FP_MAGIC1: u32 = 0x4650_5853;
const FP_LEGACY: usize = 512;
/// Larger than any state without AMX, which is refused.
const FP_MAX: usize = 8192 + 4096;

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(super) fn registers(host: &HostProcess, uc: u64) -> Option<Registers> {
    let mut b = [0u8; 18 * 8];
    if !host.read_exact(uc + GREGS, &mut b) {
        return None;
    }
    let r = |n: usize| u64_at(&b, n * 8);
    Some(Registers {
        r8: r(0),
        r9: r(1),
        r10: r(2),
        r11: r(3),
        r12: r(4),
        r13: r(5),
        r14: r(6),
        r15: r(7),
        rdi: r(8),
        rsi: r(9),
        rbp: r(10),
        rbx: r(11),
        rdx: r(12),
        rax: r(13),
        rcx: r(14),
        rsp: r(15),
        rip: r(16),
        eflags: r(17),
    })
}

pub(super) fn set_registers(host: &HostProcess, uc: u64, r: &Registers) -> bool {
    let words = [
        r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax, r.rcx, r.rsp,
        r.rip, r.eflags,
    ];
    let mut b = [0u8; 18 * 8];
    for (chunk, word) in b.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    // The kick must stay deliverable whatever the guest put into its frame.
    host.write_pieces(&[(uc + GREGS, &b), (uc + SIGMASK, &[0; 8])])
}

/// Sets the result of the call that the frame returns from, and the address after it: `rcx` too has that, which is
/// elsewhere if the call was made in code that stands for its site.
pub(super) fn set_result(host: &HostProcess, uc: u64, ret: i64, rcx: u64, ip: u64) -> bool {
    let mut both = [0u8; 16];
    let (rax, behind) = both.split_at_mut(8);
    rax.copy_from_slice(&ret.to_le_bytes());
    behind.copy_from_slice(&rcx.to_le_bytes());
    host.write_pieces(&[(uc + RAX, &both), (uc + RIP, &ip.to_le_bytes())])
}

/// Has the frame return to `ip` with `ret` (see [`set_result`]), as it should already: kernels before the fix of October 2025 may have
/// thrown the answer away and set the call up to run again (M1).
pub(super) fn ensure_result(host: &HostProcess, uc: u64, ret: i64, rcx: u64, ip: u64) -> bool {
    let mut b = [0u8; 4 * 8];
    let is_there = host.read_exact(uc + RAX, &mut b) && u64_at(&b, 0) == ret as u64 && u64_at(&b, 24) == ip;
    is_there || set_result(host, uc, ret, rcx, ip)
}

pub(super) fn fault(host: &HostProcess, uc: u64, info: u64, signo: i32) -> Option<Fault> {
    let (mut si, mut m) = ([0u8; 24], [0u8; 32]);
    if !host.read_exact(info, &mut si) || !host.read_exact(uc + ERR, &mut m) {
        return None;
    }
    Some(Fault {
        signo,
        code: u32_at(&si, 8) as i32,
        addr: u64_at(&si, 16),
        err: u64_at(&m, 0),
        trapno: u64_at(&m, 8),
        cr2: u64_at(&m, 24),
    })
}

fn fp_address(host: &HostProcess, uc: u64) -> Option<u64> {
    let mut b = [0u8; 8];
    host.read_exact(uc + FPREGS, &mut b).then(|| u64::from_le_bytes(b))
}

/// Size of the extended state that starts with `legacy`.
fn fp_size(legacy: &[u8]) -> usize {
    if u32_at(legacy, FP_MAGIC1_AT) != FP_MAGIC1 {
        return FP_LEGACY;
    }
    (u32_at(legacy, FP_SIZE_AT) as usize).clamp(FP_LEGACY, FP_MAX)
}

pub(super) fn fpstate(host: &HostProcess, uc: u64) -> Option<Vec<u8>> {
    let addr = fp_address(host, uc)?;
    let mut state = vec![0u8; FP_LEGACY];
    if addr == 0 {
        return Some(Vec::new());
    }
    if !host.read_exact(addr, &mut state) {
        return None;
    }
    state.resize(fp_size(&state), 0);
    let (_, rest) = state.split_at_mut(FP_LEGACY);
    host.read_exact(addr + FP_LEGACY as u64, rest).then_some(state)
}

/// Puts the guest's `state` into the frame: the register contents, while magics, sizes and feature mask stay as
/// the kernel wrote them, so that `rt_sigreturn` always takes it.
pub(super) fn set_fpstate(host: &HostProcess, uc: u64, state: &[u8]) -> bool {
    let Some(addr) = fp_address(host, uc).filter(|a| *a != 0) else { return false };
    let Some(current) = fpstate(host, uc) else { return false };
    let mut new = current.clone();
    let full = state.len() >= current.len() && fp_size(state) == current.len();
    // Sw-reserved bytes, then after the XSAVE header (whose first word says which parts are present) the rest.
    let keep = 464..512;
    let upto = if full { current.len() - 4 } else { FP_LEGACY };
    for (at, (to, from)) in new.iter_mut().zip(state).enumerate().take(upto) {
        if !keep.contains(&at) {
            *to = *from;
        }
    }
    if let Some(header) = new.get_mut(512..576) {
        let features = u64_at(&current, 472);
        let present = if full { u64_at(state, 512) & features } else { u64_at(&current, 512) | 3 };
        header.fill(0);
        header[..8].copy_from_slice(&present.to_le_bytes());
    }
    // Reserved bits of MXCSR would make the kernel refuse the frame.
    if let Some(mxcsr) = new.get_mut(24..28) {
        let mask = match u32_at(&current, 28) {
            0 => 0xffbf,
            mask => mask,
        };
        let value = u32_at(mxcsr, 0) & mask;
        mxcsr.copy_from_slice(&value.to_le_bytes());
    }
    host.write_all(addr, &new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const IP: u64 = 0x40_1002;

    /// This process, and a frame in its memory as the kernel leaves it with `rax` and `rip`.
    fn frame(rax: u64, rip: u64) -> (HostProcess, Vec<u8>) {
        let procfs = Arc::new(std::fs::File::open("/proc").unwrap().into());
        let mut uc = vec![0x55; 512];
        uc[RAX as usize..][..8].copy_from_slice(&rax.to_le_bytes());
        uc[RIP as usize..][..8].copy_from_slice(&rip.to_le_bytes());
        (HostProcess::new(std::process::id() as i32, Arc::default(), procfs), uc)
    }

    #[test]
    fn an_answer_that_the_kernel_threw_away_is_given_again() {
        // The number of the call again, and the address of its instruction: it is about to run twice.
        let (host, mut uc) = frame(libc::SYS_write as u64, IP - 2);
        let at = uc.as_mut_ptr() as u64;
        assert!(ensure_result(&host, at, 5, IP, IP));
        assert_eq!((u64_at(&uc, RAX as usize), u64_at(&uc, RIP as usize)), (5, IP));
        let others = uc.iter().enumerate().filter(|(n, _)| !(RAX..RIP + 8).contains(&(*n as u64)));
        assert!(others.map(|(_, b)| *b).all(|b| b == 0x55));
    }

    #[test]
    fn sizes_of_extended_state_are_bounded() {
        let mut legacy = [0; FP_LEGACY];
        assert_eq!(fp_size(&legacy), FP_LEGACY);
        legacy[FP_MAGIC1_AT..][..4].copy_from_slice(&FP_MAGIC1.to_le_bytes());
        for (said, is) in [(0, FP_LEGACY), (2696, 2696), (u32::MAX, FP_MAX)] {
            legacy[FP_SIZE_AT..][..4].copy_from_slice(&said.to_le_bytes());
            assert_eq!(fp_size(&legacy), is);
        }
    }

    #[test]
    fn a_frame_that_is_right_or_gone_is_left_alone() {
        let (host, mut uc) = frame(5, IP);
        let before = uc.clone();
        assert!(ensure_result(&host, uc.as_mut_ptr() as u64, 5, IP, IP));
        assert_eq!(uc, before);
        assert!(!ensure_result(&host, 8, 5, IP, IP));
    }
}
