//! Robust mutexes (`set_robust_list(2)`): what a thread holds when it dies is marked, so that the next one who locks it is
//! told (`exit_robust_list`).

use super::{Task, ThreadGroup};
use crate::mm::Addr;
use std::sync::atomic::Ordering;

/// Bits of the words.
const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;
const TID_MASK: u32 = 0x3fff_ffff;

/// `ROBUST_LIST_LIMIT`: a list may be a circle.
const LIMIT: usize = 2048;

/// An entry of a list: bit 0 says that the mutex inherits priorities, and is handed over elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    fn addr(self) -> u64 {
        self.0 & !1
    }

    fn inherits(self) -> bool {
        self.0 & 1 != 0
    }
}

impl ThreadGroup {
    /// Marks what all threads hold; words whose waiters are to be woken.
    pub fn orphan_robust_lists(&self) -> Vec<u64> {
        self.tasks().iter().flat_map(|task| task.orphan_robust_list()).collect()
    }
}

impl Task {
    /// The head of its list, which it may have set without a call.
    pub fn robust_list(&self) -> u64 {
        self.thread().robust_list().unwrap_or_else(|| self.robust_list.load(Ordering::Relaxed))
    }

    /// Sets it.
    pub fn set_robust_list(&self, head: u64) {
        self.robust_list.store(head, Ordering::Relaxed);
        self.thread().forget_robust_list();
    }

    /// Marks what the thread holds; words whose waiters are to be woken.
    pub fn orphan_robust_list(&self) -> Vec<u64> {
        let mut wakes = Vec::new();
        let head = self.robust_list();
        if head == 0 {
            return wakes;
        }
        self.set_robust_list(0);
        let mem = self.mem();
        let Ok([first, offset, pending]) = mem.read::<[u64; 3]>(Addr(head)) else { return wakes };
        let pending = Entry(pending);
        let mut entry = Entry(first);
        for _ in 0..LIMIT {
            if entry.addr() == head || entry.addr() == 0 {
                break;
            }
            // Before its word is touched, for that may be in the same place as another's.
            let next = mem.read::<u64>(Addr(entry.addr()));
            if entry.addr() != pending.addr() {
                self.orphan(entry, offset, false, &mut wakes);
            }
            match next {
                Ok(next) => entry = Entry(next),
                Err(_) => break,
            }
        }
        if pending.addr() != 0 {
            self.orphan(pending, offset, true, &mut wakes);
        }
        wakes
    }

    fn orphan(&self, entry: Entry, offset: u64, is_pending: bool, wakes: &mut Vec<u64>) {
        let addr = entry.addr().wrapping_add(offset);
        let mem = self.mem();
        let Ok(word) = mem.read::<u32>(Addr(addr)) else { return };
        // It died between unlocking and waking.
        if is_pending && word == 0 && !entry.inherits() {
            wakes.push(addr);
        }
        if word & TID_MASK != self.tid().cast_unsigned() {
            return;
        }
        let is_marked = mem.write(Addr(addr), &(word & WAITERS | OWNER_DIED)).is_ok();
        if is_marked && word & WAITERS != 0 && !entry.inherits() {
            wakes.push(addr);
        }
    }
}
