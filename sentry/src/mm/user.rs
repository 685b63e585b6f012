//! Copies between the sentry and guest memory.
//!
//! Everything here copies once; what was copied is then checked and used, never read again.

use crate::errno::{Errno, SysResult};
use platform::{Mapping, Process, Thread};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An address in a guest's address space; nothing is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Addr(pub u64);

impl Addr {
    /// The address 0.
    pub const NULL: Addr = Addr(0);

    /// Whether this is the null pointer.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// `self + bytes`; wraps, for the copy will fail there as it does on Linux.
    #[must_use]
    pub fn offset(self, bytes: usize) -> Addr {
        Addr(self.0.wrapping_add(bytes as u64))
    }
}

const PAGE: u64 = 4096;

/// The memory of one guest process.
#[derive(Debug, Clone)]
pub struct UserMemory {
    process: Arc<dyn Process>,
    /// The thread whose calls it is used by.
    thread: Option<Arc<dyn Thread>>,
}

impl UserMemory {
    /// The memory behind `process`.
    pub fn new(process: Arc<dyn Process>) -> UserMemory {
        UserMemory { process, thread: None }
    }

    /// The memory of `thread`, for its calls.
    pub fn of(thread: Arc<dyn Thread>) -> UserMemory {
        UserMemory { process: thread.process().clone(), thread: Some(thread) }
    }

    /// Whether the process has ended.
    pub fn is_gone(&self) -> bool {
        self.process.is_gone()
    }

    /// Copies in as much of `dst` as is readable; `EFAULT` only if nothing is.
    pub fn read_partial(&self, addr: Addr, dst: &mut [u8]) -> SysResult<usize> {
        if dst.is_empty() {
            return Ok(0);
        }
        let got = match &self.thread {
            Some(thread) => thread.read(addr.0, dst),
            None => self.process.read(addr.0, dst),
        };
        match got {
            0 => Err(Errno::FAULT),
            n => Ok(n),
        }
    }

    /// Copies out as much of `src` as is writable; `EFAULT` only if nothing is.
    pub fn write_partial(&self, addr: Addr, src: &[u8]) -> SysResult<usize> {
        if src.is_empty() {
            return Ok(0);
        }
        let put = match &self.thread {
            Some(thread) => thread.write(addr.0, src),
            None => self.process.write(addr.0, src),
        };
        match put {
            0 => Err(Errno::FAULT),
            n => Ok(n),
        }
    }

    /// Copies in as much as is readable to the `len` bytes at `at` in `to`; `EFAULT` only if nothing is.
    pub fn read_mapped(&self, addr: Addr, to: &Mapping, at: usize, len: usize) -> SysResult<usize> {
        let thread = self.thread.as_ref().ok_or(Errno::FAULT)?;
        match thread.read_mapped(addr.0, to, at, len) {
            0 if len > 0 => Err(Errno::FAULT),
            n => Ok(n),
        }
    }

    /// Copies out as much of the `len` bytes at `at` in `from` as is writable; `EFAULT` only if nothing is.
    pub fn write_mapped(&self, addr: Addr, from: &Mapping, at: usize, len: usize) -> SysResult<usize> {
        let thread = self.thread.as_ref().ok_or(Errno::FAULT)?;
        match thread.write_mapped(addr.0, from, at, len) {
            0 if len > 0 => Err(Errno::FAULT),
            n => Ok(n),
        }
    }

    /// Copies in all of `dst`.
    pub fn read_bytes(&self, addr: Addr, dst: &mut [u8]) -> SysResult<()> {
        if self.read_partial(addr, dst)? == dst.len() { Ok(()) } else { Err(Errno::FAULT) }
    }

    /// Copies out all of `src`.
    pub fn write_bytes(&self, addr: Addr, src: &[u8]) -> SysResult<()> {
        if self.write_partial(addr, src)? == src.len() { Ok(()) } else { Err(Errno::FAULT) }
    }

    /// Copies in a structure.
    pub fn read<T: FromBytes + IntoBytes>(&self, addr: Addr) -> SysResult<T> {
        let mut value = T::new_zeroed();
        self.read_bytes(addr, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies out a structure.
    pub fn write<T: IntoBytes + Immutable>(&self, addr: Addr, value: &T) -> SysResult<()> {
        self.write_bytes(addr, value.as_bytes())
    }

    /// Copies out a structure unless the pointer is null.
    pub fn write_opt<T: IntoBytes + Immutable>(&self, addr: Addr, value: &T) -> SysResult<()> {
        if addr.is_null() { Ok(()) } else { self.write(addr, value) }
    }

    /// Copies in an array. The caller has bounded `count`.
    pub fn read_array<T: FromBytes + IntoBytes + Clone>(&self, addr: Addr, count: usize) -> SysResult<Vec<T>> {
        let mut values = vec![T::new_zeroed(); count];
        for_bytes(&mut values, |bytes| self.read_bytes(addr, bytes))?;
        Ok(values)
    }

    /// Copies in a string up to its NUL, which is left out. `too_long` if there is none within `max` bytes.
    pub fn read_cstr(&self, addr: Addr, max: usize, too_long: Errno) -> SysResult<Vec<u8>> {
        let mut out = Vec::new();
        let mut at = addr;
        while out.len() < max {
            // Never past the page: what follows may be unmapped, and need not be readable.
            let to_page_end = (PAGE - at.0 % PAGE) as usize;
            let want = to_page_end.min(256).min(max - out.len());
            let mut chunk = [0u8; 256];
            let chunk = chunk.get_mut(..want).ok_or(Errno::FAULT)?;
            let got = self.read_partial(at, chunk)?;
            let chunk = chunk.get(..got).ok_or(Errno::FAULT)?;
            if let Some(end) = chunk.iter().position(|b| *b == 0) {
                out.extend_from_slice(chunk.get(..end).unwrap_or_default());
                return Ok(out);
            }
            out.extend_from_slice(chunk);
            at = at.offset(got);
        }
        Err(too_long)
    }

    /// Copies in a path (`PATH_MAX` with its NUL).
    pub fn read_path(&self, addr: Addr) -> SysResult<Vec<u8>> {
        self.read_cstr(addr, libc::PATH_MAX as usize, Errno::NAMETOOLONG)
    }

    /// The process behind the memory.
    pub fn process(&self) -> &Arc<dyn Process> {
        &self.process
    }
}

/// Copies in many strings that lie near each other, as those of `execve` do, a page at a time.
#[derive(Debug)]
pub struct StringReader<'a> {
    mem: &'a UserMemory,
    /// Address of what has been copied in: a page, or its part behind the first string that was asked for.
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> StringReader<'a> {
    /// A reader of `mem`.
    pub fn new(mem: &'a UserMemory) -> StringReader<'a> {
        StringReader { mem, at: 0, bytes: Vec::new() }
    }

    /// The bytes from `addr` to the end of its page, or to the end of what is readable there.
    fn piece(&mut self, addr: Addr) -> SysResult<&[u8]> {
        let known = |r: &Self| addr.0.checked_sub(r.at).is_some_and(|skip| skip < r.bytes.len() as u64);
        if !known(self) {
            self.bytes.resize((PAGE - addr.0 % PAGE) as usize, 0);
            let got = self.mem.read_partial(addr, &mut self.bytes);
            self.bytes.truncate(*got.as_ref().unwrap_or(&0));
            self.at = addr.0;
            got?;
        }
        self.bytes.get((addr.0 - self.at) as usize..).ok_or(Errno::FAULT)
    }

    /// As [`UserMemory::read_cstr`].
    pub fn read(&mut self, addr: Addr, max: usize, too_long: Errno) -> SysResult<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < max {
            let left = max - out.len();
            let piece = self.piece(addr.offset(out.len()))?;
            let piece = piece.get(..left).unwrap_or(piece);
            if let Some(end) = piece.iter().position(|b| *b == 0) {
                out.extend_from_slice(piece.get(..end).unwrap_or_default());
                return Ok(out);
            }
            out.extend_from_slice(piece);
        }
        Err(too_long)
    }
}

fn for_bytes<T: FromBytes + IntoBytes>(values: &mut [T], f: impl FnOnce(&mut [u8]) -> SysResult<()>) -> SysResult<()> {
    f(values.as_mut_bytes())
}
