//! Futexes with priority inheritance (`FUTEX_LOCK_PI` and kin of `futex(2)`), as far as they hand locks over: the host
//! schedules all threads alike, so the one that has waited longest is next.
//!
//! The word in guest memory holds the owner's id, and `FUTEX_WAITERS` once someone waits: without that bit threads take and
//! leave the lock by themselves, with it they all come here. What is done to one futex is done by one task at a time
//! ([`PiFutex::begin`]), for it reads and writes guest memory in between, and no lock is held over that.

use super::{Kernel, Registration, Task};
use crate::executor::{Events, WaitQueue};
use crate::sync::Mutex;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

/// What a futex is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PiKey {
    /// Memory of one process (by its host id), and the address.
    Private(i32, u64),
    /// Memory that processes share: device and number of the file behind it, and the position in it.
    Shared(u32, u32, u64, u64),
}

/// One who waits for a lock.
#[derive(Debug)]
pub struct PiWaiter {
    tid: i32,
    granted: AtomicU8,
}

/// How a waiter has come to the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// It was unlocked; the word names the new owner already.
    Unlocked,
    /// Its owner died; the word is for the new owner to write.
    OwnerDied,
}

#[derive(Debug, Default)]
struct State {
    is_busy: bool,
    /// The owner, while someone waits.
    owner: i32,
    waiters: VecDeque<Arc<PiWaiter>>,
}

/// A futex that someone waits for, or that is being seen to.
#[derive(Debug, Default)]
pub struct PiFutex {
    state: Mutex<State>,
    /// Told of grants (`IN`), and when it is no longer busy (`OUT`).
    pub queue: WaitQueue,
}

/// The futexes of a sandbox that are in use, by key.
#[derive(Debug, Default)]
pub struct PiTable(Mutex<HashMap<PiKey, Arc<PiFutex>>>);

/// A futex in use: the table forgets it with the last user.
#[derive(Debug)]
pub struct InUse {
    /// Who waits for it.
    pub futex: Arc<PiFutex>,
    kernel: Arc<Kernel>,
    key: PiKey,
}

impl InUse {
    /// The futex of this key.
    pub fn new(kernel: &Arc<Kernel>, key: PiKey) -> InUse {
        let futex = kernel.pi.0.lock().entry(key).or_default().clone();
        InUse { futex, kernel: kernel.clone(), key }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        /// The table's, and this one.
        const LAST: usize = 2;
        let mut table = self.kernel.pi.0.lock();
        if Arc::strong_count(&self.futex) == LAST {
            table.remove(&self.key);
        }
    }
}

/// While it lives nobody else sees to the futex.
#[derive(Debug)]
pub struct Busy<'a>(&'a PiFutex);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_busy = false;
        self.0.queue.notify(Events::OUT);
    }
}

impl PiWaiter {
    /// Whether the lock is its own now.
    pub fn granted(&self) -> Option<Granted> {
        match self.granted.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Granted::Unlocked),
            _ => Some(Granted::OwnerDied),
        }
    }

    fn grant(&self, how: Granted) {
        self.granted.store(if how == Granted::Unlocked { 1 } else { 2 }, Ordering::Release);
    }
}

impl PiFutex {
    /// Waits until nobody else sees to it, through everything but death: it never takes long.
    pub async fn begin(&self, t: &Task) -> Busy<'_> {
        let _registered = Registration::new(&self.queue, Events::OUT, t.observer());
        poll_fn(|_| match std::mem::replace(&mut self.state.lock().is_busy, true) {
            true => Poll::Pending,
            false => Poll::Ready(Busy(self)),
        })
        .await
    }

    /// Whether anyone waits.
    pub fn has_waiters(&self) -> bool {
        !self.state.lock().waiters.is_empty()
    }

    /// Who holds it from now on.
    pub fn set_owner(&self, tid: i32) {
        self.state.lock().owner = tid;
    }

    /// Lines `t` up behind `owner`.
    pub fn wait(&self, t: &Task, owner: i32) -> Arc<PiWaiter> {
        let waiter = Arc::new(PiWaiter { tid: t.tid(), granted: AtomicU8::new(0) });
        let mut state = self.state.lock();
        state.owner = owner;
        state.waiters.push_back(waiter.clone());
        waiter
    }

    /// Leaves the line, unless the lock was granted.
    pub fn leave(&self, waiter: &Arc<PiWaiter>) {
        self.state.lock().waiters.retain(|other| !Arc::ptr_eq(other, waiter));
    }

    /// Who is next.
    pub fn next(&self) -> Option<i32> {
        self.state.lock().waiters.front().map(|waiter| waiter.tid)
    }

    /// Grants the lock to who is next.
    pub fn grant(&self, how: Granted) {
        let mut state = self.state.lock();
        if let Some(waiter) = state.waiters.pop_front() {
            state.owner = waiter.tid;
            waiter.grant(how);
        }
        drop(state);
        self.queue.notify(Events::IN);
    }
}

impl Kernel {
    /// A thread is gone: what it owned and others wait for goes to those (`exit_pi_state_list`).
    pub fn release_pi(&self, tid: i32) {
        let owned = |futex: &&Arc<PiFutex>| {
            let state = futex.state.lock();
            state.owner == tid && !state.waiters.is_empty()
        };
        // Empty but for futexes that someone waits for just now.
        let futexes: Vec<_> = self.pi.0.lock().values().filter(owned).cloned().collect();
        for futex in futexes {
            futex.grant(Granted::OwnerDied);
        }
    }
}
