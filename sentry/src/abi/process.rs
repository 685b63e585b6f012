//! Structures of process calls.

use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::mm::Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct clone_args`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "clone(2) documents them")]
pub struct CloneArgsAbi {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

/// `CLONE_ARGS_SIZE_VER0`.
const CLONE_ARGS_MIN: usize = 64;

impl CloneArgsAbi {
    /// Copies it in, of whatever size the caller knows.
    pub fn read(t: &Task, addr: Addr, size: usize) -> SysResult<CloneArgsAbi> {
        read_extensible(t, addr, size, CLONE_ARGS_MIN)
    }
}

/// `copy_struct_from_user`: a structure that grows over time. What the caller's has and ours has not must be 0.
pub fn read_extensible<T: FromBytes + IntoBytes>(t: &Task, addr: Addr, size: usize, min: usize) -> SysResult<T> {
    const PAGE: usize = 4096;
    if size > PAGE {
        return Err(Errno::TOOBIG);
    }
    if size < min {
        return Err(Errno::INVAL);
    }
    let mut bytes = vec![0; size];
    t.mem().read_bytes(addr, &mut bytes)?;
    let mut value = T::new_zeroed();
    let known = value.as_mut_bytes();
    if bytes.iter().skip(known.len()).any(|b| *b != 0) {
        return Err(Errno::TOOBIG);
    }
    for (to, from) in known.iter_mut().zip(&bytes) {
        *to = *from;
    }
    Ok(value)
}

/// `struct rusage`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "getrusage(2) documents them")]
pub struct Rusage {
    pub utime: super::Timeval,
    pub stime: super::Timeval,
    pub maxrss: i64,
    pub unused1: [i64; 3],
    pub minflt: i64,
    pub majflt: i64,
    pub unused2: [i64; 6],
    pub nvcsw: i64,
    pub nivcsw: i64,
}

impl From<platform::Usage> for Rusage {
    fn from(u: platform::Usage) -> Rusage {
        let time = |ns| std::time::Duration::from_nanos(ns).into();
        Rusage {
            utime: time(u.utime),
            stime: time(u.stime),
            maxrss: u.maxrss as i64,
            minflt: u.minflt as i64,
            majflt: u.majflt as i64,
            nvcsw: u.nvcsw as i64,
            nivcsw: u.nivcsw as i64,
            ..Rusage::default()
        }
    }
}

/// `struct sched_attr`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "sched_setattr(2) documents them")]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    pub util_min: u32,
    pub util_max: u32,
}

/// What the first version of [`SchedAttr`] has: all but the clamps.
pub const SCHED_ATTR_SIZE_VER0: usize = 48;
