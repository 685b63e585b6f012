//! Wait queues: who wants to know when something becomes ready.

use crate::sync::Mutex;
use bitflags::bitflags;
use smallvec::SmallVec;
use std::sync::Arc;
use std::task::Waker;

bitflags! {
    /// Readiness, with the bits of `poll(2)` and `epoll(7)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Events: u32 {
        /// There is data to read.
        const IN = 0x001;
        /// There is urgent data.
        const PRI = 0x002;
        /// Writing will not block.
        const OUT = 0x004;
        /// Error; always reported.
        const ERR = 0x008;
        /// Hang-up; always reported.
        const HUP = 0x010;
        /// Invalid descriptor (`poll` only).
        const NVAL = 0x020;
        /// As `IN`.
        const RDNORM = 0x040;
        /// Priority band data.
        const RDBAND = 0x080;
        /// As `OUT`.
        const WRNORM = 0x100;
        /// Priority band may be written.
        const WRBAND = 0x200;
        /// Unused by Linux.
        const MSG = 0x400;
        /// The peer shut down its writing half.
        const RDHUP = 0x2000;
    }
}

impl Events {
    /// What a reader waits for.
    pub const READABLE: Events =
        Events::IN.union(Events::RDNORM).union(Events::HUP).union(Events::ERR).union(Events::RDHUP);
    /// What a writer waits for.
    pub const WRITABLE: Events = Events::OUT.union(Events::WRNORM).union(Events::HUP).union(Events::ERR);
    /// Reported to pollers whether asked for or not.
    pub const ALWAYS: Events = Events::ERR.union(Events::HUP);

    /// Of a socket without connections, which can always be written to (`datagram_poll`).
    pub fn of_datagrams(has_input: bool, has_error: bool) -> Events {
        let mut ready = Events::OUT | Events::WRNORM | Events::WRBAND;
        ready.set(Events::IN | Events::RDNORM, has_input);
        ready.set(Events::ERR, has_error);
        ready
    }
}

/// Someone to be told of readiness. Called without locks of the queue held, but possibly with locks of the
/// object that became ready: it may wake and enqueue, never call back into that object.
pub trait Observer: Send + Sync {
    /// `events` may have become ready.
    fn notify(&self, events: Events);
}

impl Observer for Waker {
    fn notify(&self, _: Events) {
        self.wake_by_ref();
    }
}

/// Names a registration, for [`WaitQueue::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitKey(u64);

struct Entry {
    key: u64,
    mask: Events,
    /// At most one exclusive entry is told per [`WaitQueue::notify`] (`EPOLLEXCLUSIVE`, accept).
    exclusive: bool,
    observer: Arc<dyn Observer>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    entries: Vec<Entry>,
}

/// The observers of one object.
#[derive(Default)]
pub struct WaitQueue {
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WaitQueue({})", self.inner.lock().entries.len())
    }
}

impl WaitQueue {
    /// An empty queue.
    pub fn new() -> WaitQueue {
        WaitQueue::default()
    }

    /// Has `observer` told of any of `mask` until it is removed.
    pub fn add(&self, mask: Events, observer: Arc<dyn Observer>) -> WaitKey {
        self.insert(mask, observer, false)
    }

    /// As [`add`](Self::add), but of all exclusive observers only one is told at a time.
    pub fn add_exclusive(&self, mask: Events, observer: Arc<dyn Observer>) -> WaitKey {
        self.insert(mask, observer, true)
    }

    fn insert(&self, mask: Events, observer: Arc<dyn Observer>, exclusive: bool) -> WaitKey {
        let mut inner = self.inner.lock();
        inner.next += 1;
        let key = inner.next;
        inner.entries.push(Entry { key, mask, exclusive, observer });
        WaitKey(key)
    }

    /// Ends a registration.
    pub fn remove(&self, key: WaitKey) {
        let mut inner = self.inner.lock();
        // Keys ascend, so the entry is found by bisection however many wait.
        if let Ok(at) = inner.entries.binary_search_by_key(&key.0, |e| e.key) {
            inner.entries.remove(at);
        }
    }

    /// Tells observers that `events` may be ready.
    pub fn notify(&self, events: Events) {
        let told: SmallVec<[Arc<dyn Observer>; 4]> = {
            let inner = self.inner.lock();
            if inner.entries.is_empty() {
                return;
            }
            let mut exclusive_told = false;
            inner
                .entries
                .iter()
                .filter(|e| e.mask.intersects(events))
                .filter(|e| !e.exclusive || !std::mem::replace(&mut exclusive_told, true))
                .map(|e| e.observer.clone())
                .collect()
        };
        for observer in told {
            observer.notify(events);
        }
    }

    /// Whether anyone waits.
    pub fn is_empty(&self) -> bool {
        self.inner.lock().entries.is_empty()
    }
}
