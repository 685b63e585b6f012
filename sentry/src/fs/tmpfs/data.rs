//! What regular files contain: bytes on the heap while they are few and unmapped, a memory file of the host
//! once they are many or mapped, or still what the lower directory has.

use super::{PAGE, Shared};
use crate::errno::{Errno, SysResult};
use crate::fs::budget::{self, Share};
use crate::fs::file::{File, OFFSET_APPEND};
use crate::fs::inode::{Caller, Inode};
use crate::fs::view::{Turns, View, Window};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Largest content kept on the heap. Most files are smaller, and a descriptor each would soon be too many.
const HEAP_MAX: u64 = 64 * 1024;

/// Largest content kept on the heap when no memory file can be had: its growth copies it now and then.
const HEAP_FALLBACK: u64 = 64 << 20;

/// Large pieces written over what is on the heap until it goes to a memory file, where that takes one copy less. What
/// is made and read, as most files are, stays.
const OVERWRITES: u32 = 3;

/// Largest file.
const SIZE_MAX: u64 = i64::MAX as u64;

/// Every `F_SEAL_*` that a guest may set.
pub const ANY_SEAL: u32 = 0x3f;
/// `F_SEAL_SEAL`.
const SEAL_SEAL: u32 = 0x1;
/// `F_SEAL_SHRINK`.
const SEAL_SHRINK: u32 = 0x2;
/// `F_SEAL_GROW`.
const SEAL_GROW: u32 = 0x4;
/// `F_SEAL_WRITE` and `F_SEAL_FUTURE_WRITE`.
const SEAL_WRITES: u32 = 0x8 | 0x10;

enum Data {
    /// Shared with those who read it at the moment.
    Heap(Arc<Vec<u8>>),
    Memory {
        fd: Arc<OwnedFd>,
        len: u64,
    },
    Lower(Arc<dyn Inode>),
}

/// The content of a regular file.
pub(super) struct Regular {
    data: Data,
    /// Pages that count against the file system's size.
    pub(super) charged: u64,
    /// All pages below this offset are known to be there, so that a write up to it needs no recount.
    dense: u64,
    seals: u32,
    /// Large pieces that were written over what is on the heap.
    overwrites: u32,
    turns: Turns,
}

fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE)
}

impl Regular {
    pub(super) fn empty() -> Regular {
        Regular {
            data: Data::Heap(Arc::default()),
            charged: 0,
            dense: 0,
            seals: SEAL_SEAL,
            overwrites: 0,
            turns: Turns::default(),
        }
    }

    pub(super) fn lower(lower: Arc<dyn Inode>) -> Regular {
        Regular { data: Data::Lower(lower), ..Regular::empty() }
    }

    pub(super) fn len(&self) -> SysResult<u64> {
        match &self.data {
            Data::Heap(bytes) => Ok(bytes.len() as u64),
            Data::Memory { len, .. } => Ok(*len),
            Data::Lower(lower) => Ok(lower.attr()?.size),
        }
    }

    /// Length, and blocks of 512 bytes.
    pub(super) fn usage(&self) -> SysResult<(u64, u64)> {
        match &self.data {
            Data::Lower(lower) => lower.attr().map(|attr| (attr.size, attr.blocks)),
            _ => Ok((self.len()?, self.charged * (PAGE / 512))),
        }
    }

    pub(super) fn is_lower(&self) -> bool {
        matches!(self.data, Data::Lower(_))
    }

    /// The file of the lower directory, as long as nothing was written.
    pub(super) fn lower_inode(&self) -> Option<&Arc<dyn Inode>> {
        match &self.data {
            Data::Lower(lower) => Some(lower),
            _ => None,
        }
    }

    /// Reads what is in memory.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> SysResult<usize> {
        match &self.data {
            Data::Heap(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
                let count = rest.len().min(buf.len());
                if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
                    to.copy_from_slice(from);
                }
                Ok(count)
            }
            Data::Memory { fd, .. } => Ok(rustix::io::pread(fd, buf, offset)?),
            Data::Lower(_) => Err(Errno::IO),
        }
    }

    /// Where up to `len` bytes at `offset` lie, to be read there. Not in holes: looking at those through a mapping
    /// fills them.
    pub(super) fn view(&self, window: &Window, offset: u64, len: usize) -> Option<View> {
        match &self.data {
            Data::Heap(bytes) => View::of_heap(bytes, offset, len),
            Data::Memory { fd, len: size } if self.may_be_mapped() => {
                window.view(fd, offset, len, self.dense.min(*size), true)
            }
            _ => None,
        }
    }

    /// Where `len` bytes at `offset` lie, to be written there: only over what is there already, so that neither
    /// length nor room change.
    pub(super) fn view_to_write(&mut self, window: &Window, offset: u64, len: usize) -> Option<View> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.len().unwrap_or(0))?;
        if !self.may_be_mapped() || self.is_lower() {
            return None;
        }
        if let Data::Heap(_) = &self.data {
            self.overwrites += 1;
            if self.overwrites < OVERWRITES {
                return None;
            }
            self.overwrites = 0;
            self.move_to_memory().ok()?;
        }
        match &self.data {
            Data::Memory { fd, len: size } if end <= self.dense => {
                let view = window.view(fd, offset, len, *size, true)?;
                Some(view.in_turn(self.turns.take()))
            }
            _ => None,
        }
    }

    /// Whether someone writes to it in place at the moment.
    pub(super) fn is_written(&self) -> bool {
        self.turns.is_taken()
    }

    /// A mapping of the sentry's own would keep the host from sealing a file against writes.
    fn may_be_mapped(&self) -> bool {
        self.seals == SEAL_SEAL
    }

    /// Whether all pages below `end` are there for sure.
    pub(super) fn is_dense(&self, end: u64) -> bool {
        end <= self.dense || !matches!(self.data, Data::Memory { .. })
    }

    /// Holes may have been filled past this module.
    pub(super) fn recharge_holes(&mut self, fs: &Shared) {
        let _ = self.recount(fs);
    }

    /// Writes; returns how much, and the offset after it.
    pub(super) fn write(&mut self, fs: &Shared, buf: &[u8], offset: u64) -> SysResult<(usize, u64)> {
        self.bring_up(fs)?;
        if self.seals & SEAL_WRITES != 0 {
            return Err(Errno::PERM);
        }
        let len = self.len()?;
        let offset = if offset == OFFSET_APPEND { len } else { offset };
        if buf.is_empty() {
            // Neither a length nor room is needed for nothing, however far behind the end.
            return Ok((0, offset));
        }
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= SIZE_MAX).ok_or(Errno::FBIG)?;
        if end > len && self.seals & SEAL_GROW != 0 {
            return Err(Errno::PERM);
        }
        if end > HEAP_MAX {
            match self.move_to_memory() {
                // Memory files have run out. What has no holes is as well off here, as long as nobody maps it.
                Err(Errno::NOSPC) if end <= HEAP_FALLBACK && offset <= len => {}
                done => done?,
            }
        }
        let end = self.fitting(fs, offset, end)?;
        let buf = buf.get(..(end - offset) as usize).unwrap_or_default();
        match &self.data {
            Data::Heap(_) => self.write_heap(fs, buf, offset, end)?,
            _ => return self.write_memory(fs, buf, offset, end),
        }
        Ok((buf.len(), end))
    }

    /// How far a write from `offset` to `end` gets before the file system is full.
    fn fitting(&self, fs: &Shared, offset: u64, end: u64) -> SysResult<u64> {
        let first_new = self.first_new_page(offset);
        let free = fs.pages.free();
        if pages(end).saturating_sub(first_new) <= free {
            return Ok(end);
        }
        let room = first_new.saturating_add(free).saturating_mul(PAGE).min(end);
        if room <= offset { Err(Errno::NOSPC) } else { Ok(room) }
    }

    /// The first page that a write at `offset` may have to allocate.
    fn first_new_page(&self, offset: u64) -> u64 {
        match &self.data {
            Data::Heap(_) => self.charged,
            _ if offset <= self.dense => pages(self.dense),
            _ => offset / PAGE,
        }
    }

    fn write_heap(&mut self, fs: &Shared, buf: &[u8], offset: u64, end: u64) -> SysResult<()> {
        self.charge(fs, pages(end).max(self.charged))?;
        let Data::Heap(bytes) = &mut self.data else { return Err(Errno::IO) };
        let bytes = Arc::make_mut(bytes);
        let (start, end) = (offset as usize, end as usize);
        if start == bytes.len() {
            bytes.extend_from_slice(buf);
            return Ok(());
        }
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes.get_mut(start..end).ok_or(Errno::IO)?.copy_from_slice(buf);
        Ok(())
    }

    fn write_memory(&mut self, fs: &Shared, buf: &[u8], offset: u64, end: u64) -> SysResult<(usize, u64)> {
        // What a write adds at most is taken first, and given back once the host has said what it added.
        let most = if end <= self.dense { 0 } else { pages(end).saturating_sub(self.first_new_page(offset)) };
        fs.pages.take(most)?;
        self.charged += most;
        let Data::Memory { fd, len } = &mut self.data else { return Err(Errno::IO) };
        let written = rustix::io::pwrite(&*fd, buf, offset);
        let count = *written.as_ref().unwrap_or(&0);
        *len = (*len).max(offset + count as u64);
        let was_dense = offset <= self.dense;
        if was_dense && offset.is_multiple_of(PAGE) && self.dense.is_multiple_of(PAGE) && count == buf.len() {
            self.dense = self.dense.max(end);
        } else if most > 0 {
            self.recount(fs)?;
            if was_dense {
                self.dense = self.dense.max(offset + count as u64);
            }
        }
        written?;
        Ok((count, offset + count as u64))
    }

    /// Charges exactly what the host has allocated.
    fn recount(&mut self, fs: &Shared) -> SysResult<()> {
        let Data::Memory { fd, .. } = &self.data else { return Ok(()) };
        let there = rustix::fs::fstat(fd)?.st_blocks.unsigned_abs() / (PAGE / 512);
        self.recharge(fs, there);
        Ok(())
    }

    fn recharge(&mut self, fs: &Shared, pages: u64) {
        if pages > self.charged {
            fs.pages.force(pages - self.charged);
        } else {
            fs.pages.give(self.charged - pages);
        }
        self.charged = pages;
    }

    fn charge(&mut self, fs: &Shared, pages: u64) -> SysResult<()> {
        if pages > self.charged {
            fs.pages.take(pages - self.charged)?;
            self.charged = pages;
        }
        Ok(())
    }

    pub(super) fn set_len(&mut self, fs: &Shared, new: u64) -> SysResult<()> {
        if new > SIZE_MAX {
            return Err(Errno::FBIG);
        }
        let old = self.len()?;
        if new < old && self.seals & SEAL_SHRINK != 0 || new > old && self.seals & SEAL_GROW != 0 {
            return Err(Errno::PERM);
        }
        if new == 0 && self.is_lower() {
            self.data = Data::Heap(Arc::default());
            return Ok(());
        }
        self.bring_up(fs)?;
        if new > HEAP_MAX {
            self.move_to_memory()?;
        }
        match &mut self.data {
            Data::Heap(bytes) => {
                let bytes = Arc::make_mut(bytes);
                bytes.resize(new as usize, 0);
                if new < old {
                    bytes.shrink_to_fit();
                }
                self.recharge(fs, pages(new));
            }
            Data::Memory { fd, len } => {
                rustix::fs::ftruncate(&*fd, new)?;
                *len = new;
                self.dense = self.dense.min(new);
                self.recount(fs)?;
            }
            Data::Lower(_) => return Err(Errno::IO),
        }
        Ok(())
    }

    /// `fallocate(2)`.
    pub(super) fn fallocate(&mut self, fs: &Shared, mode: i32, offset: u64, length: u64) -> SysResult<()> {
        let end = offset.checked_add(length).filter(|end| *end <= SIZE_MAX).ok_or(Errno::FBIG)?;
        let flags = FallocateFlags::from_bits_retain(mode as u32);
        let punches = flags == FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if !punches && !flags.difference(FallocateFlags::KEEP_SIZE).is_empty() {
            return Err(Errno::OPNOTSUPP);
        }
        self.bring_up(fs)?;
        if punches && self.seals & SEAL_WRITES != 0 || !punches && end > self.len()? && self.seals & SEAL_GROW != 0 {
            return Err(Errno::PERM);
        }
        self.move_to_memory()?;
        if !punches {
            // As with a write: room for all of it, then what was truly added.
            let most = pages(end) - offset / PAGE;
            fs.pages.take(most)?;
            self.charged += most;
        }
        let Data::Memory { fd, len } = &mut self.data else { return Err(Errno::IO) };
        let done = rustix::fs::fallocate(&*fd, flags, offset, length);
        if done.is_ok() && flags.is_empty() {
            *len = (*len).max(end);
        }
        if punches {
            self.dense = self.dense.min(offset);
        }
        self.recount(fs)?;
        Ok(done?)
    }

    pub(super) fn seek_data(&self, offset: u64, data: bool) -> SysResult<u64> {
        let len = self.len()?;
        if offset >= len {
            return Err(Errno::NXIO);
        }
        match &self.data {
            // Positions of the host's description are nobody's but this call's.
            Data::Memory { fd, .. } if data => Ok(rustix::fs::seek(fd, rustix::fs::SeekFrom::Data(offset))?),
            Data::Memory { fd, .. } => Ok(rustix::fs::seek(fd, rustix::fs::SeekFrom::Hole(offset))?),
            _ => Ok(if data { offset } else { len }),
        }
    }

    /// The host's file, for mappings.
    pub(super) fn map(&mut self, fs: &Shared) -> SysResult<Arc<OwnedFd>> {
        self.bring_up(fs)?;
        self.move_to_memory()?;
        match &self.data {
            Data::Memory { fd, .. } => Ok(fd.clone()),
            _ => Err(Errno::IO),
        }
    }

    fn move_to_memory(&mut self) -> SysResult<()> {
        let Data::Heap(bytes) = &self.data else { return Ok(()) };
        let fd = memory_file()?;
        write_all(&fd, bytes, 0)?;
        let len = bytes.len() as u64;
        self.dense = len;
        self.data = Data::Memory { fd: Arc::new(fd), len };
        Ok(())
    }

    /// Copies the content of the lower directory's file into memory, if it is still there.
    pub(super) fn bring_up(&mut self, fs: &Shared) -> SysResult<()> {
        let Data::Lower(lower) = &self.data else { return Ok(()) };
        let size = lower.attr()?.size;
        let file = File::new(lower.clone().open(&Caller::kernel(), libc::O_RDONLY)?, None, libc::O_RDONLY);
        fs.pages.take(pages(size))?;
        let copied = copy(&file, size);
        match copied {
            Ok(data) => {
                self.charged = pages(size);
                self.dense = size;
                self.data = data;
                Ok(())
            }
            Err(e) => {
                fs.pages.give(pages(size));
                Err(e)
            }
        }
    }

    pub(super) fn seals(&self) -> u32 {
        self.seals
    }

    pub(super) fn init_seals(&mut self, seals: u32) {
        self.seals = seals;
    }

    /// `F_ADD_SEALS`.
    pub(super) fn add_seals(&mut self, fs: &Shared, seals: u32) -> SysResult<()> {
        if seals & !ANY_SEAL != 0 {
            return Err(Errno::INVAL);
        }
        if self.seals & SEAL_SEAL != 0 {
            return Err(Errno::PERM);
        }
        if seals & SEAL_WRITES != 0 {
            // The host knows of writable mappings, and keeps new ones away.
            let fd = self.map(fs)?;
            rustix::fs::fcntl_add_seals(&fd, SealFlags::from_bits_retain(seals & SEAL_WRITES))?;
        }
        self.seals |= seals;
        Ok(())
    }
}

fn copy(file: &File, size: u64) -> SysResult<Data> {
    let mut buf = vec![0; size.min(1 << 20) as usize];
    if size <= HEAP_MAX {
        let count = read_full(file, &mut buf, 0)?;
        buf.truncate(count);
        return Ok(Data::Heap(Arc::new(buf)));
    }
    let fd = memory_file()?;
    let mut at = 0;
    loop {
        let count = read_full(file, &mut buf, at)?;
        if count == 0 {
            return Ok(Data::Memory { fd: Arc::new(fd), len: at });
        }
        write_all(&fd, buf.get(..count).unwrap_or_default(), at)?;
        at += count as u64;
    }
}

fn read_full(file: &File, buf: &mut [u8], offset: u64) -> SysResult<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.ops.read(file, rest, offset + done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

fn write_all(fd: &OwnedFd, bytes: &[u8], offset: u64) -> SysResult<()> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        done += rustix::io::pwrite(fd, rest, offset + done as u64)?;
    }
    Ok(())
}

/// A memory file of the host that can be sealed. No more of them than the host allows descriptors: beyond
/// that the file system is full.
fn memory_file() -> SysResult<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match rustix::fs::memfd_create("file", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create("file", flags),
        made => made,
    };
    match made {
        Ok(fd) => budget::within(Share::Memory, fd, Errno::NOSPC),
        Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Err(Errno::NOSPC),
        Err(e) => Err(e.into()),
    }
}
