//! The slot file of one address space: words on which parked threads wait.
//!
//! Invariants kept here: the mapping lives as long as the `SlotFile`; the file's size is sealed, so no access can
//! fault; the words are only touched as atomics, for the guest changes them at will and nothing is believed of them.

use super::sys;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use stub::abi::{SLOT_SIZE, SLOTS_BASE, SLOTS_SIZE};

/// How many threads of one process can be parked.
pub(super) const SLOTS: u32 = (SLOTS_SIZE / SLOT_SIZE) as u32;

#[derive(Debug)]
pub(super) struct SlotFile {
    fd: OwnedFd,
    base: NonNull<u8>,
}

// SAFETY: the mapping is shared memory that is only accessed atomically.
unsafe impl Send for SlotFile {}
// SAFETY: as above.
unsafe impl Sync for SlotFile {}

impl SlotFile {
    pub(super) fn new() -> io::Result<SlotFile> {
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        let fd = sys::memfd(c"slots", SLOTS_SIZE, seals)?;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), SLOTS_SIZE as usize, prot, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(SlotFile { fd, base })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn word(&self, slot: u32) -> &AtomicU32 {
        let offset = (slot % SLOTS) as usize * SLOT_SIZE as usize;
        // SAFETY: in bounds of the mapping.
        let word = unsafe { self.base.byte_add(offset) };
        // SAFETY: mapped as long as this lives, and aligned, for slots are a multiple of 4.
        unsafe { word.cast().as_ref() }
    }

    /// Where the guest sees the word of `slot`.
    pub(super) fn guest_address(slot: u32) -> u64 {
        SLOTS_BASE + u64::from(slot % SLOTS) * SLOT_SIZE
    }

    /// Before its thread is told to wait.
    pub(super) fn arm(&self, slot: u32) {
        self.word(slot).store(0, Ordering::Release);
    }

    /// Ends the wait.
    pub(super) fn wake(&self, slot: u32) {
        let word = self.word(slot);
        word.store(1, Ordering::Release);
        // SAFETY: FUTEX_WAKE does not access the word; waking all is harmless, there is one waiter at most.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX, 0, 0, 0) };
    }
}

impl Drop for SlotFile {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which no reference outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), SLOTS_SIZE as usize) };
    }
}
