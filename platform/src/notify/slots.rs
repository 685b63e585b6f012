//! The slot file of one address space: words on which parked threads wait, and channels.
//!
//! Invariants kept here: the mapping lives as long as the `SlotFile`; the file's size is sealed, so no access can
//! fault; the words are only touched as atomics, for the guest changes them at will and nothing is believed of them.

use super::sys;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use stub::abi::{CHANNEL_SIZE, CHANNELS_BASE, SLOT_SIZE, SLOTS_BASE, SLOTS_SIZE, channel as field, state};

/// How many threads of one process can be parked.
pub(super) const SLOTS: u32 = ((CHANNELS_BASE - SLOTS_BASE) / SLOT_SIZE) as u32;
/// How many of them can have a channel.
pub(super) const CHANNELS: u32 = ((SLOTS_BASE + SLOTS_SIZE - CHANNELS_BASE) / CHANNEL_SIZE) as u32;

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

    /// The word at the address that is `guest` for the process.
    fn at<T: Atomic>(&self, guest: u64) -> &T {
        let offset = (guest - SLOTS_BASE) as usize;
        assert!(offset + size_of::<T>() <= SLOTS_SIZE as usize && offset.is_multiple_of(size_of::<T>()));
        // SAFETY: in bounds of the mapping.
        let word = unsafe { self.base.byte_add(offset) };
        // SAFETY: mapped as long as this lives, and aligned; any bytes are an atomic integer.
        unsafe { word.cast().as_ref() }
    }

    fn word(&self, slot: u32) -> &AtomicU32 {
        self.at(SlotFile::guest_address(slot))
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
        futex_wake(word);
    }
}

/// Integers that may be shared with a guest.
trait Atomic {}
impl Atomic for AtomicU32 {}
impl Atomic for AtomicU64 {}

/// Wakes who waits for a word in a slot file.
fn futex_wake(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE does not access the word; waking all is harmless, there is one waiter at most.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX, 0, 0, 0) };
}

/// One thread's place for calls through shared memory. Clones are the same channel.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    file: Arc<SlotFile>,
    /// Which one of the file.
    pub(super) index: u32,
}

/// What a guest asks for through its channel: its word, copied once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) nr: u64,
    pub(super) args: [u64; 6],
    /// Where the code of the call's site goes on.
    pub(super) done: u64,
}

impl Channel {
    /// The channel `index` of a process, as nobody's.
    pub(super) fn new(file: &Arc<SlotFile>, index: u32) -> Channel {
        let channel = Channel { file: file.clone(), index: index % CHANNELS };
        channel.state().store(state::IDLE, Ordering::Release);
        channel
    }

    /// Where the guest sees it: what its thread has in GS.
    pub(super) fn guest_address(&self) -> u64 {
        CHANNELS_BASE + u64::from(self.index) * CHANNEL_SIZE
    }

    fn state(&self) -> &AtomicU32 {
        self.file.at(self.guest_address() + field::STATE)
    }

    fn field(&self, offset: u64) -> &AtomicU64 {
        self.file.at(self.guest_address() + offset)
    }

    /// Whether there is a call that nobody has taken.
    pub(super) fn has_request(&self) -> bool {
        self.state().load(Ordering::Acquire) & !state::ASLEEP == state::REQUEST
    }

    fn change(&self, from: u32, to: u32) -> bool {
        let asleep = |state| state | state::ASLEEP;
        let change = |from, to| self.state().compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        change(from, to) || change(asleep(from), asleep(to))
    }

    /// From now on the next call may come through it: somebody looks.
    pub(super) fn listen(&self) {
        self.change(state::IDLE, state::LISTENING);
    }

    /// The next call is to be made the other way. False if there is one already.
    pub(super) fn stop_listening(&self) -> bool {
        self.change(state::LISTENING, state::IDLE) || !self.has_request()
    }

    /// Takes the call.
    pub(super) fn take(&self) -> Option<Request> {
        let request = self.request();
        self.change(state::REQUEST, state::TAKEN).then_some(request)
    }

    /// What was asked for last.
    pub(super) fn request(&self) -> Request {
        let word = |offset| self.field(offset).load(Ordering::Relaxed);
        let args = [0, 8, 16, 24, 32, 40].map(|offset| word(field::ARGS + offset));
        Request { nr: word(field::NR), args, done: word(field::DONE) }
    }

    /// Takes back a call that nobody has taken, of a thread that no longer waits for it.
    pub(super) fn withdraw(&self) -> bool {
        let back = |from| self.state().compare_exchange(from, state::IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok();
        back(state::REQUEST) || back(state::REQUEST | state::ASLEEP)
    }

    /// The thread need not look any more: its call blocks.
    pub(super) fn block(&self) {
        let state = self.state();
        let _ = state.compare_exchange(state::TAKEN, state::BLOCKED, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Answers the call that was taken; whether the next one may come through here too is said by `listens`.
    pub(super) fn answer(&self, ret: i64, listens: bool) {
        self.field(field::RET).store(ret.cast_unsigned(), Ordering::Relaxed);
        let next = if listens { state::LISTENING } else { state::IDLE };
        if self.state().swap(next, Ordering::AcqRel) & state::ASLEEP != 0 {
            futex_wake(self.state());
        }
    }

    /// Its thread has left it.
    pub(super) fn reset(&self) {
        self.state().store(state::IDLE, Ordering::Release);
    }
}

impl Drop for SlotFile {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which no reference outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), SLOTS_SIZE as usize) };
    }
}
