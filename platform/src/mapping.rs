//! Pieces of files mapped into this process, for copies between them and guests that pass no buffer.
//!
//! Invariants: only the kernel reads or writes what is mapped, on behalf of `process_vm_readv` and
//! `process_vm_writev`. So nobody here has a reference to memory that others change, and a file cut short makes a
//! copy short, not a SIGBUS.

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::os::fd::BorrowedFd;

/// A piece of a file.
#[derive(Debug)]
pub struct Mapping {
    /// As a number: it is never dereferenced.
    base: usize,
    len: usize,
    writable: bool,
}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset` on, a multiple of the page size; they need not all be there.
    pub fn new(file: BorrowedFd<'_>, offset: u64, len: usize, writable: bool) -> io::Result<Mapping> {
        let access = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping where the kernel finds room; nothing that exists is touched.
        let base = unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, file, offset)? };
        Ok(Mapping { base: base.expose_provenance(), len, writable })
    }

    /// Whether it can be copied to.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The `len` bytes from `at` on; nothing if they are not all within it.
    fn piece(&self, at: usize, len: usize) -> Option<libc::iovec> {
        let end = at.checked_add(len)?;
        let base = std::ptr::with_exposed_provenance_mut(self.base + at);
        (end <= self.len).then_some(libc::iovec { iov_base: base, iov_len: len })
    }

    /// Copies `len` bytes from `at` on to another process; how many, before the first hole of either.
    pub(crate) fn copy_to(&self, pid: i32, addr: u64, at: usize, len: usize) -> usize {
        let Some(local) = self.piece(at, len) else { return 0 };
        let remote = libc::iovec { iov_base: addr as *mut _, iov_len: len };
        // SAFETY: the kernel only reads `local`, within a mapping that lives; the remote range is checked by it.
        let count = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Copies `len` bytes from another process to `at`; how many, before the first hole of either.
    pub(crate) fn copy_from(&self, pid: i32, addr: u64, at: usize, len: usize) -> usize {
        let Some(local) = self.piece(at, len).filter(|_| self.writable) else { return 0 };
        let remote = libc::iovec { iov_base: addr as *mut _, iov_len: len };
        // SAFETY: the kernel writes `local`, within a mapping that lives and that nobody has a reference to.
        let count = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(count).unwrap_or(0)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is its own, and nobody has a reference to what is in it.
        let _ = unsafe { munmap(std::ptr::with_exposed_provenance_mut(self.base), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn copies_stay_within_and_end_with_the_file() {
        const LEN: usize = 16384;
        let file = rustix::fs::memfd_create("mapping", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, LEN as u64).unwrap();
        let mapping = Mapping::new(file.as_fd(), 0, LEN, true).unwrap();
        let pid = std::process::id() as i32;
        let from = vec![7u8; LEN];
        let mut to = vec![0u8; LEN];
        assert_eq!(mapping.copy_from(pid, from.as_ptr() as u64, 0, LEN), LEN);
        assert_eq!(mapping.copy_to(pid, to.as_mut_ptr() as u64, 4096, LEN - 4096), LEN - 4096);
        assert_eq!((to[0], to[LEN - 4097], to[LEN - 4096]), (7, 7, 0));
        assert_eq!(mapping.copy_to(pid, to.as_mut_ptr() as u64, 1, LEN), 0, "past the end");
        assert_eq!(mapping.copy_to(pid, to.as_mut_ptr() as u64, usize::MAX, 2), 0, "around the end");
        rustix::fs::ftruncate(&file, 4096).unwrap();
        assert!(mapping.copy_to(pid, to.as_mut_ptr() as u64, 0, LEN) <= 4096, "behind the file's end");
    }

    #[test]
    fn what_is_mapped_for_reading_is_not_written() {
        let file = rustix::fs::memfd_create("mapping", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 4096).unwrap();
        let mapping = Mapping::new(file.as_fd(), 0, 4096, false).unwrap();
        assert_eq!(mapping.copy_from(std::process::id() as i32, [1u8; 8].as_ptr() as u64, 0, 8), 0);
    }
}
