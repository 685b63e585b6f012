//! Filters of sockets (`SO_ATTACH_FILTER`): classic BPF that decides how much of a packet is received.

use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::mm::Addr;
use crate::seccomp::bpf::{INSTRUCTIONS_MAX, Input, Instruction, Program};
use crate::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Places that mean something else than bytes: `SKF_AD_OFF`; the protocol, who a frame is for, its interface.
const ANCILLARY: u32 = 0xffff_f000;
/// `SKF_NET_OFF` and `SKF_LL_OFF`: places from the network's header on, and from the link's.
const NETWORK: u32 = 0xfff0_0000;
const LINK: u32 = 0xffe0_0000;

/// `struct sock_fprog`.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Fprog {
    len: u16,
    pad: [u16; 3],
    filter: u64,
}

/// A packet as programs see it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// `ETH_P_…`.
    pub protocol: u16,
    /// `PACKET_HOST` and its kin.
    pub kind: u8,
    /// The interface it came over.
    pub interface: u32,
}

impl<'a> View<'a> {
    /// Bytes that came over no interface in particular.
    pub fn of(bytes: &'a [u8], protocol: i32) -> View<'a> {
        View { bytes, protocol: protocol as u16, kind: 0, interface: 0 }
    }
}

impl Input for View<'_> {
    fn length(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn load(&self, at: u32, size: u32) -> Option<u32> {
        if at >= ANCILLARY {
            return Some(match at - ANCILLARY {
                0 => self.protocol.into(),
                4 => self.kind.into(),
                8 => self.interface,
                _ => 0,
            });
        }
        let at = if at >= NETWORK { at - NETWORK } else { at.checked_sub(LINK).unwrap_or(at) } as usize;
        let bytes = self.bytes.get(at..at.checked_add(size as usize)?)?;
        Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }
}

/// The program that a guest's `struct sock_fprog` describes, checked.
pub fn read(t: &Task, value: &[u8]) -> SysResult<Program> {
    let fprog = Fprog::read_from_bytes(value).map_err(|_| Errno::INVAL)?;
    let count = usize::from(fprog.len);
    if count == 0 || count > INSTRUCTIONS_MAX {
        return Err(Errno::INVAL);
    }
    let code: Vec<Instruction> = t.mem().read_array(Addr(fprog.filter), count)?;
    Program::for_packets(code)
}

/// A socket's filter, if it has one.
#[derive(Debug, Default)]
pub struct Filter {
    program: Mutex<Option<Arc<Program>>>,
    /// Whether there is one, which is seldom.
    is_set: AtomicBool,
}

impl Filter {
    /// Takes over the program of a guest.
    pub fn attach(&self, t: &Task, value: &[u8]) -> SysResult<()> {
        let program = read(t, value)?;
        *self.program.lock() = Some(Arc::new(program));
        self.is_set.store(true, Ordering::Release);
        Ok(())
    }

    /// Forgets it: `ENOENT` if there is none.
    pub fn detach(&self) -> SysResult<()> {
        self.is_set.store(false, Ordering::Release);
        self.program.lock().take().map(drop).ok_or(Errno::NOENT)
    }

    /// The same for an accepted socket.
    pub fn inherit(&self) -> Filter {
        let program = self.program.lock().clone();
        let is_set = AtomicBool::new(program.is_some());
        Filter { program: Mutex::new(program), is_set }
    }

    /// How many bytes of a packet are received; `None` if it is not. `view` is called only if there is a filter.
    pub fn admit<'a>(&self, len: usize, view: impl FnOnce() -> View<'a>) -> Option<usize> {
        if !self.is_set.load(Ordering::Acquire) {
            return Some(len);
        }
        let Some(program) = self.program.lock().clone() else { return Some(len) };
        let taken = program.run(&view()) as usize;
        (taken > 0).then(|| taken.min(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{BPF_ABS, BPF_B, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET};

    const fn i(code: u32, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code: code as u16, jt, jf, k }
    }

    #[test]
    fn programs_look_into_packets() {
        let code = vec![
            i(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0),
            i(BPF_LD | BPF_B | BPF_IND, 0, 0, 1),
            i(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 9),
            i(BPF_RET | BPF_K, 0, 0, 3),
            i(BPF_RET | BPF_K, 0, 0, 0),
        ];
        let filter = Filter::default();
        *filter.program.lock() = Some(Arc::new(Program::for_packets(code.clone()).unwrap()));
        filter.is_set.store(true, Ordering::Release);
        assert!(Program::new(code).is_err());
        assert_eq!(filter.admit(6, || View::of(&[0x41, 0, 0, 0, 7, 9], 0)), Some(3));
        assert_eq!(filter.admit(6, || View::of(&[0x41, 0, 0, 0, 9, 7], 0)), None);
        // Beyond its end.
        assert_eq!(filter.admit(2, || View::of(&[0x45, 9], 0)), None);
        let unknown = vec![i(BPF_LD | BPF_B | BPF_ABS, 0, 0, ANCILLARY + 64), i(BPF_RET | BPF_K, 0, 0, 0)];
        assert!(Program::for_packets(unknown).is_err());
    }
}
