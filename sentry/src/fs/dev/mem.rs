//! The memory devices: `null`, `zero`, `full`, `random`, `urandom` (`mem(4)`, `null(4)`, `random(4)`).

use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::file::{File, FileOps, Written};
use crate::fs::inode::Caller;
use crate::fs::special;
use crate::kernel::Task;
use crate::mm::Addr;
use rustix::fs::MemfdFlags;
use rustix::rand::{GetRandomFlags, getrandom};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Major number of the memory devices.
const MAJOR: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Device {
    Null,
    Zero,
    Full,
    Random,
}

/// Registers them.
pub(super) fn register() {
    special::register_char_devices(MAJOR, 3, 9, open);
}

fn open(_: &Caller<'_>, rdev: u64, _: i32) -> SysResult<Box<dyn FileOps>> {
    Ok(Box::new(match libc::minor(rdev) {
        3 => Device::Null,
        5 => Device::Zero,
        7 => Device::Full,
        8 | 9 => Device::Random,
        _ => return Err(Errno::NXIO),
    }))
}

/// `RNDGETENTCNT`.
const RNDGETENTCNT: u32 = 0x8004_5200;

/// What the entropy pool of a modern Linux always holds, in bits.
const ENTROPY: i32 = 256;

impl FileOps for Device {
    fn read(&self, _: &File, buf: &mut [u8], _: u64) -> SysResult<usize> {
        match self {
            Device::Null => return Ok(0),
            Device::Zero | Device::Full => buf.fill(0),
            Device::Random => return random(buf),
        }
        Ok(buf.len())
    }

    fn write(&self, _: &File, buf: &[u8], offset: u64) -> SysResult<Written> {
        match self {
            Device::Full => Err(Errno::NOSPC),
            _ => Ok(Written { count: buf.len(), end: offset.wrapping_add(buf.len() as u64) }),
        }
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn ignores_seek(&self) -> bool {
        true
    }

    fn size(&self) -> SysResult<u64> {
        Ok(0)
    }

    fn seek_data(&self, _: u64, _: bool) -> SysResult<u64> {
        Err(Errno::INVAL)
    }

    fn poll(&self, _: &File) -> Events {
        Events::IN | Events::OUT | Events::RDNORM | Events::WRNORM
    }

    fn ioctl(&self, t: &Task, _: &File, cmd: u32, arg: u64) -> SysResult {
        match (self, cmd) {
            (Device::Random, RNDGETENTCNT) => t.mem().write(Addr(arg), &ENTROPY).map(|()| 0),
            _ => Err(Errno::NOTTY),
        }
    }

    fn mmap(&self, _: &File, _: bool, _: bool) -> SysResult<Arc<OwnedFd>> {
        if *self != Device::Zero {
            return Err(Errno::NODEV);
        }
        // As large as a mapping may be; pages come to be when touched.
        let fd = rustix::fs::memfd_create("zero", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, i64::MAX as u64 & !4095)?;
        Ok(Arc::new(fd))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn random(buf: &mut [u8]) -> SysResult<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        done += getrandom(rest, GetRandomFlags::empty())?;
    }
    Ok(done)
}
