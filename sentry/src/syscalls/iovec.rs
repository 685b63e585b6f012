//! Guest buffers of calls that read or write: one, or a vector of them.

use crate::abi::Iovec;
use crate::errno::{Errno, SysResult};
use crate::fs::view::{Place, View};
use crate::kernel::Task;
use crate::mm::{Addr, UserMemory};
use crate::spare;
use smallvec::SmallVec;
use std::cell::Cell;

/// Most bytes that one call transfers (`MAX_RW_COUNT`).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

/// Most elements of a vector (`UIO_MAXIOV`).
const IOV_MAX: usize = 1024;

/// End of the addresses a guest's buffer may have (`TASK_SIZE_MAX`).
const ADDR_MAX: u64 = 0x7fff_ffff_f000;

/// The pieces of guest memory that a call reads to or writes from.
#[derive(Debug, Clone)]
pub struct Buffers {
    pieces: SmallVec<[(Addr, usize); 2]>,
    len: usize,
}

fn check_range(base: u64, len: usize) -> SysResult<()> {
    match base.checked_add(len as u64) {
        Some(end) if end <= ADDR_MAX => Ok(()),
        _ => Err(Errno::FAULT),
    }
}

impl Buffers {
    /// A single buffer.
    pub fn one(addr: Addr, len: usize) -> SysResult<Buffers> {
        check_range(addr.0, len)?;
        let len = len.min(MAX_RW_COUNT);
        Ok(Buffers { pieces: SmallVec::from_elem((addr, len), 1), len })
    }

    /// The `count` buffers that the vector at `addr` names.
    pub fn vector(t: &Task, addr: Addr, count: usize) -> SysResult<Buffers> {
        if count > IOV_MAX {
            return Err(Errno::INVAL);
        }
        let mut buffers = Buffers { pieces: SmallVec::with_capacity(count), len: 0 };
        for Iovec { base, len } in t.mem().read_array::<Iovec>(addr, count)? {
            let len = usize::try_from(len).ok().filter(|len| *len <= isize::MAX as usize).ok_or(Errno::INVAL)?;
            check_range(base, len)?;
            let len = len.min(MAX_RW_COUNT - buffers.len);
            buffers.pieces.push((Addr(base), len));
            buffers.len += len;
        }
        Ok(buffers)
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to transfer.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces.
    pub fn pieces(&self) -> impl Iterator<Item = (Addr, usize)> {
        self.pieces.iter().copied()
    }

    /// The parts of the pieces from byte `skip` on.
    fn parts_from(&self, skip: usize) -> impl Iterator<Item = (Addr, usize)> + '_ {
        let mut skip = skip;
        self.pieces.iter().filter_map(move |(addr, len)| {
            let skipped = skip.min(*len);
            skip -= skipped;
            (*len > skipped).then(|| (addr.offset(skipped), len - skipped))
        })
    }

    /// Has `copy` copy `total` bytes, to or from byte `skip` and on: each time between an address and what it has from
    /// an offset on, so many bytes. Returns how many could be, `EFAULT` if none.
    fn copy(
        &self,
        t: &Task,
        skip: usize,
        total: usize,
        mut copy: impl FnMut(&UserMemory, Addr, usize, usize) -> SysResult<usize>,
    ) -> SysResult<usize> {
        let mem = t.mem();
        let mut done = 0;
        for (addr, len) in self.parts_from(skip) {
            let want = len.min(total - done);
            if want == 0 {
                break;
            }
            match copy(&mem, addr, done, want) {
                Ok(count) if count == want => done += count,
                Ok(count) => return Ok(done + count),
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Copies `bytes` out, to byte `skip` and on; returns how many could be, `EFAULT` if none.
    pub fn copy_out(&self, t: &Task, skip: usize, bytes: &[u8]) -> SysResult<usize> {
        self.copy(t, skip, bytes.len(), |mem, addr, at, len| {
            mem.write_partial(addr, bytes.get(at..at + len).unwrap_or_default())
        })
    }

    /// Copies in from byte `skip` on; returns how many bytes could be, `EFAULT` if none.
    pub fn copy_in(&self, t: &Task, skip: usize, bytes: &mut [u8]) -> SysResult<usize> {
        self.copy(t, skip, bytes.len(), |mem, addr, at, len| {
            mem.read_partial(addr, bytes.get_mut(at..at + len).unwrap_or_default())
        })
    }

    /// As [`copy_out`](Self::copy_out), from where a file has its bytes.
    pub fn copy_view_out(&self, t: &Task, skip: usize, view: &View) -> SysResult<usize> {
        match &view.place {
            Place::Heap(bytes) => self.copy_out(t, skip, bytes.get(view.at..view.at + view.len()).unwrap_or_default()),
            Place::Mapped(mapping) => {
                self.copy(t, skip, view.len(), |mem, addr, at, len| mem.write_mapped(addr, mapping, view.at + at, len))
            }
        }
    }

    /// As [`copy_in`](Self::copy_in), to where a file has its bytes.
    pub fn copy_view_in(&self, t: &Task, skip: usize, view: &View) -> SysResult<usize> {
        match &view.place {
            // What is on the heap is not written behind its owner's back.
            Place::Heap(_) => Err(Errno::FAULT),
            Place::Mapped(mapping) => {
                self.copy(t, skip, view.len(), |mem, addr, at, len| mem.read_mapped(addr, mapping, view.at + at, len))
            }
        }
    }
}

/// Room for the bytes of one transfer: of few, taken from the thread that runs and given back to whichever drops it, of
/// many, from what all threads share.
#[derive(Debug)]
pub struct IoBuffer {
    bytes: Vec<u8>,
    len: usize,
}

/// Bytes that are rather copied than handed over with their memory, and for which each thread keeps some of its own: more
/// of it would add up.
pub(super) const SMALL: usize = 32 << 10;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl IoBuffer {
    /// Room for `len` bytes, of any content.
    pub fn new(len: usize) -> IoBuffer {
        let mut bytes = if len <= SMALL {
            SPARE.take()
        } else if len <= spare::WRITTEN {
            spare::take(spare::WRITTEN)
        } else if len <= spare::MESSAGE {
            spare::take(spare::MESSAGE)
        } else {
            Vec::new()
        };
        if bytes.len() < len {
            bytes = vec![0; len];
        }
        IoBuffer { bytes, len }
    }

    /// Takes its memory out of it, for others to keep, if that is worth it.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        (self.bytes.len() > SMALL).then(|| std::mem::take(&mut self.bytes))
    }
}

impl std::ops::Deref for IoBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl std::ops::DerefMut for IoBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl Drop for IoBuffer {
    fn drop(&mut self) {
        let mine = std::mem::take(&mut self.bytes);
        if mine.len() > SMALL {
            return spare::give(mine);
        }
        let spare = SPARE.take();
        SPARE.set(if mine.len() > spare.len() { mine } else { spare });
    }
}
