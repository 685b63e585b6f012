//! The slot file of one address space: words on which parked threads wait, and channels.
//!
//! Invariants kept here: the mapping lives as long as the `SlotFile`; the file's size is sealed, so no access can
//! fault; the words are only touched as atomics, for the guest changes them at will and nothing is believed of them.

use super::local::has_more_args;
use super::sys;
use crate::Action;
use crate::counters::WAKES;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use stub::abi::{
    CHANNEL_SIZE, CHANNELS_BASE, CHANNELS_END, SLOT_SIZE, SLOTS_BASE, SLOTS_SIZE, channel as field, shape, sigactions,
    sigmask, state,
};

/// How many threads of one process can be parked.
pub(super) const SLOTS: u32 = ((CHANNELS_BASE - SLOTS_BASE) / SLOT_SIZE) as u32;
/// How many of them can have a channel.
pub(super) const CHANNELS: u32 = ((CHANNELS_END - CHANNELS_BASE) / CHANNEL_SIZE) as u32;
/// How many of them can be lent signal actions.
pub(super) const TABLES: u32 = sigactions::TABLES as u32;

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

    /// The words from the address on that is `guest` for the process, for `len` bytes.
    fn words(&self, guest: u64, len: u64) -> &[AtomicU64] {
        let end = guest + len;
        assert!(
            guest >= SLOTS_BASE && end <= SLOTS_BASE + SLOTS_SIZE && guest.is_multiple_of(8) && len.is_multiple_of(8)
        );
        // SAFETY: in bounds of the mapping.
        let first = unsafe { self.base.byte_add((guest - SLOTS_BASE) as usize) };
        // SAFETY: mapped as long as this lives, and aligned; any bytes are an atomic integer.
        unsafe { std::slice::from_raw_parts(first.cast().as_ptr(), len as usize / 8) }
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
    WAKES.add();
    // SAFETY: FUTEX_WAKE does not access the word; waking all is harmless, there is one waiter at most.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX, 0, 0, 0) };
}

/// No more is fetched ahead: a `stat`, or a `statx`.
const EXPECTED: u64 = 256;

/// The bits that no mask has.
const LENT: u64 = 1 << sigmask::LENT;
const NO_MASK: u64 = LENT | 1 << sigmask::STOP;

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
    pub(super) nr: u32,
    /// 0 where the call has fewer.
    pub(super) args: [u64; 6],
    /// Where the code of the call's site goes on.
    pub(super) done: u64,
}

impl Channel {
    /// The channel `index` of a process, as nobody's.
    pub(super) fn new(file: &Arc<SlotFile>, index: u32) -> Channel {
        let channel = Channel { file: file.clone(), index: index % CHANNELS };
        channel.state().store(state::IDLE, Ordering::Release);
        channel.sigmask().store(0, Ordering::Release);
        channel.sigactions().store(0, Ordering::Release);
        channel.take_robust_list();
        channel
    }

    /// Where the guest sees it: what its thread has in GS.
    pub(super) fn guest_address(&self) -> u64 {
        CHANNELS_BASE + u64::from(self.index) * CHANNEL_SIZE
    }

    fn state(&self) -> &AtomicU32 {
        self.field(field::STATE)
    }

    fn field<T: Atomic>(&self, offset: u64) -> &T {
        self.file.at(self.guest_address() + offset)
    }

    /// Whether there is a call, which somebody may have taken.
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

    /// The next call is to be made the other way. False if there is one already, which somebody may have taken.
    pub(super) fn stop_listening(&self) -> bool {
        self.change(state::LISTENING, state::IDLE) || !self.has_request()
    }

    /// Has what a call may be about to write be fetched, while it is seen to: lines of the cache that its thread has.
    pub(super) fn expect(&self, len: u64) {
        for line in (0..len.min(EXPECTED)).step_by(64) {
            sys::prefetch_to_write(self.field::<AtomicU64>(field::OUT + line).as_ptr().cast());
        }
    }

    /// The call, if there is one. Its word stays as it is until it blocks or is answered.
    pub(super) fn take(&self) -> Option<Request> {
        self.has_request().then(|| self.request())
    }

    /// What was asked for last.
    pub(super) fn request(&self) -> Request {
        let word = |offset| self.field::<AtomicU64>(offset).load(Ordering::Relaxed);
        let half = |offset| self.field::<AtomicU32>(offset).load(Ordering::Relaxed);
        let nr = half(field::NR);
        let [a, b, c, d] = [0, 8, 16, 24].map(|offset| word(field::ARGS + offset));
        let [e, f] = [0, 8].map(|offset| if has_more_args(nr) { word(field::MORE_ARGS + offset) } else { 0 });
        Request { nr, args: [a, b, c, d, e, f], done: u64::from(half(field::DONE) & shape::ADDRESS) }
    }

    /// Length of the path that it brought along.
    pub(super) fn path_len(&self) -> u64 {
        self.field::<AtomicU32>(field::IN_LEN).load(Ordering::Relaxed).into()
    }

    /// The words that hold `len` bytes at `offset` in the channel, and how far into them those begin.
    fn data(&self, offset: u64, len: usize) -> (&[AtomicU64], usize) {
        let first = offset & !7;
        let end = (offset + len as u64).next_multiple_of(8);
        (self.file.words(self.guest_address() + first, end - first), (offset - first) as usize)
    }

    /// Copies from `offset` in the channel, each byte once.
    pub(super) fn read(&self, offset: u64, dst: &mut [u8]) {
        let (words, skip) = self.data(offset, dst.len());
        let mut words = words.iter().map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let (head, body) = dst.split_at_mut(dst.len().min((8 - skip) % 8));
        if !head.is_empty() {
            let word = words.next().unwrap_or_default();
            head.copy_from_slice(&word[skip..skip + head.len()]);
        }
        for (chunk, word) in body.chunks_mut(8).zip(words) {
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Copies to `offset` in the channel.
    pub(super) fn write(&self, offset: u64, src: &[u8]) {
        let (words, skip) = self.data(offset, src.len());
        let (head, body) = src.split_at(src.len().min((8 - skip) % 8));
        let mut words = words.iter();
        if !head.is_empty() {
            words.next().into_iter().for_each(|word| put(word, skip, head));
        }
        for (chunk, word) in body.chunks(8).zip(words) {
            match chunk.try_into() {
                Ok(whole) => word.store(u64::from_le_bytes(whole), Ordering::Relaxed),
                Err(_) => put(word, 0, chunk),
            }
        }
    }

    /// Takes back a call of a thread that no longer waits for it. Nobody may have taken it.
    pub(super) fn withdraw(&self) -> bool {
        let back = |from| self.state().compare_exchange(from, state::IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok();
        back(state::REQUEST) || back(state::REQUEST | state::ASLEEP)
    }

    /// The thread need not look any more: its call blocks.
    pub(super) fn block(&self) {
        self.change(state::REQUEST, state::BLOCKED);
    }

    /// Answers the call, and has its thread copy what it has `written` to where that belongs; whether the
    /// next one may come through here too is said by `listens`.
    pub(super) fn answer(&self, ret: i64, written: Option<(u64, u64)>, listens: bool) {
        let (to, len) = written.unwrap_or_default();
        self.field::<AtomicU64>(field::OUT_PTR).store(to, Ordering::Relaxed);
        self.field::<AtomicU32>(field::OUT_LEN).store(len as u32, Ordering::Relaxed);
        self.field::<AtomicU64>(field::RET).store(ret.cast_unsigned(), Ordering::Relaxed);
        let next = if listens { state::LISTENING } else { state::IDLE };
        if self.state().swap(next, Ordering::AcqRel) & state::ASLEEP != 0 {
            futex_wake(self.state());
        }
    }

    fn sigmask(&self) -> &AtomicU64 {
        self.field(field::SIGMASK)
    }

    /// Lends its thread a signal mask.
    pub(super) fn lend_sigmask(&self, mask: u64) {
        self.sigmask().store(mask & !NO_MASK | LENT, Ordering::SeqCst);
    }

    /// The mask that was lent.
    pub(super) fn lent_sigmask(&self) -> u64 {
        self.sigmask().load(Ordering::SeqCst) & !NO_MASK
    }

    /// Takes it back: no change that the thread makes by itself comes after this.
    pub(super) fn take_sigmask(&self) -> u64 {
        self.sigmask().fetch_and(!LENT, Ordering::SeqCst) & !NO_MASK
    }

    /// Where the code goes on that was to change the mask, and what the flags were.
    pub(super) fn sigmask_change(&self) -> (u64, u64) {
        let half = |offset| u64::from(self.field::<AtomicU32>(offset).load(Ordering::Relaxed));
        (half(field::SIGMASK_DONE), half(field::SIGMASK_FLAGS))
    }

    fn sigactions(&self) -> &AtomicU32 {
        self.field(field::SIGACTIONS)
    }

    /// The words of the action at the address that is `guest` for the process.
    fn action(&self, guest: u64) -> &[AtomicU64] {
        self.file.words(guest, sigactions::SIZE)
    }

    /// Lends its thread signal actions, in a table that is nobody's.
    pub(super) fn lend_sigactions(&self, table: u32, actions: &[Action]) {
        let at = table_address(table);
        for (to, action) in (at..at + sigactions::TABLE_SIZE).step_by(sigactions::SIZE as usize).zip(actions) {
            self.action(to).iter().zip(action).for_each(|(to, word)| to.store(*word, Ordering::Relaxed));
        }
        self.sigactions().store(at as u32, Ordering::SeqCst);
    }

    /// Takes them back: no change that the thread makes by itself comes after this. What is half done is in full beside
    /// the table.
    pub(super) fn take_sigactions(&self, table: u32) -> Vec<Action> {
        let beside = self.sigactions().swap(0, Ordering::SeqCst) & sigactions::BESIDE;
        let at = table_address(table);
        let own = self.guest_address() + field::SIGACTION;
        let places = (1u32..).zip((at..at + sigactions::TABLE_SIZE).step_by(sigactions::SIZE as usize));
        let place_of = |(signo, at)| if signo == beside { own } else { at };
        places.map(place_of).map(|at| read_action(self.action(at))).collect()
    }

    /// The head of its thread's list of robust mutexes, if it has left that here,
    pub(super) fn robust_list(&self) -> Option<u64> {
        Some(self.field::<AtomicU64>(field::ROBUST).load(Ordering::Relaxed)).filter(|head| *head != 0)
    }

    /// and has it no longer there.
    pub(super) fn take_robust_list(&self) {
        self.field::<AtomicU64>(field::ROBUST).store(0, Ordering::Relaxed);
    }

    /// Before its thread clones: what the child finds. From then on the thread waits as for a call that blocks.
    pub(super) fn offer(&self, nonce: u64, stack: (u64, u64), child: &Channel) {
        let word = |offset, value| self.field::<AtomicU64>(offset).store(value, Ordering::Relaxed);
        let (base, size) = stack;
        word(field::CHILD_NONCE, nonce);
        word(field::CHILD_CHANNEL, child.guest_address());
        // A `stack_t`: address, flags, size.
        word(field::CHILD_STACK, base);
        word(field::CHILD_STACK + 8, 0);
        word(field::CHILD_STACK + 16, size);
        child.continue_as(self);
        self.state().store(state::BLOCKED, Ordering::Release);
    }

    /// Its new thread is in the call that its creator makes through `other`, and is to find 0 as its result.
    fn continue_as(&self, other: &Channel) {
        let word = |channel: &Channel, offset| channel.field::<AtomicU64>(offset).load(Ordering::Relaxed);
        let half = |channel: &Channel, offset| channel.field::<AtomicU32>(offset).load(Ordering::Relaxed);
        for offset in
            [0, 8, 16, 24].map(|at| field::ARGS + at).into_iter().chain([0, 8].map(|at| field::MORE_ARGS + at))
        {
            self.field::<AtomicU64>(offset).store(word(other, offset), Ordering::Relaxed);
        }
        for offset in [field::NR, field::DONE] {
            self.field::<AtomicU32>(offset).store(half(other, offset), Ordering::Relaxed);
        }
        self.field::<AtomicU32>(field::OUT_LEN).store(0, Ordering::Relaxed);
        self.field::<AtomicU64>(field::RET).store(0, Ordering::Relaxed);
    }

    /// Its thread has left it.
    pub(super) fn reset(&self) {
        self.state().store(state::IDLE, Ordering::Release);
    }
}

/// Where the guest sees a table of signal actions.
fn table_address(table: u32) -> u64 {
    CHANNELS_END + u64::from(table % TABLES) * sigactions::TABLE_SIZE
}

fn read_action(words: &[AtomicU64]) -> Action {
    std::array::from_fn(|n| words.get(n).map_or(0, |word| word.load(Ordering::Relaxed)))
}

/// Changes some bytes of a word that nobody else is to change meanwhile.
fn put(word: &AtomicU64, at: usize, src: &[u8]) {
    let mut bytes = word.load(Ordering::Relaxed).to_le_bytes();
    bytes[at..at + src.len()].copy_from_slice(src);
    word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
}

impl Drop for SlotFile {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which no reference outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), SLOTS_SIZE as usize) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_come_back_with_the_one_beside_the_table() {
        let file = Arc::new(SlotFile::new().unwrap());
        let channel = Channel::new(&file, 3);
        let actions: Vec<Action> = (1..=64).map(|n| [n, n << 8, n << 16, n << 24]).collect();
        channel.lend_sigactions(2, &actions);
        let at = table_address(2);
        assert_eq!(channel.sigactions().load(Ordering::Relaxed), at as u32);
        assert_eq!(at & u64::from(sigactions::BESIDE), 0);
        assert_eq!(channel.take_sigactions(2), actions);
        assert_eq!(channel.sigactions().load(Ordering::Relaxed), 0);

        channel.lend_sigactions(2, &actions);
        channel.write(field::SIGACTION, &[7; 32]);
        channel.sigactions().fetch_add(11, Ordering::Relaxed);
        let mut changed = actions.clone();
        changed[10] = [u64::from_le_bytes([7; 8]); 4];
        assert_eq!(channel.take_sigactions(2), changed);
        // A guest may name what there is not.
        for beside in [65, 127, u32::MAX] {
            channel.lend_sigactions(2, &actions);
            channel.sigactions().store(beside, Ordering::Relaxed);
            assert_eq!(channel.take_sigactions(2), actions);
        }
        let last = u64::from(CHANNELS - 1) * CHANNEL_SIZE + CHANNELS_BASE;
        assert_eq!(last + CHANNEL_SIZE, table_address(0));
        assert_eq!(table_address(TABLES - 1) + sigactions::TABLE_SIZE, SLOTS_BASE + SLOTS_SIZE);
    }

    #[test]
    fn bytes_come_out_of_a_channel_as_they_went_in() {
        let file = Arc::new(SlotFile::new().unwrap());
        let channel = Channel::new(&file, 3);
        let all: Vec<u8> = (0..=255).cycle().take(1024).collect();
        channel.write(field::OUT, &all);
        for (at, len) in [(0, 1024), (0, 8), (1, 3), (5, 3), (5, 4), (7, 100), (8, 15), (1021, 3), (9, 0)] {
            let mut out = vec![0; len];
            channel.read(field::OUT + at as u64, &mut out);
            assert_eq!(out, all[at..at + len]);
            channel.write(field::OUT + at as u64, &out);
        }
        let mut out = vec![0; all.len()];
        channel.read(field::OUT, &mut out);
        assert_eq!(out, all);
    }
}
