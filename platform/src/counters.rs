//! What is asked of the host, counted while somebody wants to know.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether anything is counted. Read on every count: where nobody counts no memory is written that cores share.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// How often something happened.
#[derive(Debug)]
pub struct Counter {
    /// What it counts, in reports.
    pub name: &'static str,
    count: AtomicU64,
}

impl Counter {
    /// Of nothing yet.
    pub const fn new(name: &'static str) -> Counter {
        Counter { name, count: AtomicU64::new(0) }
    }

    /// Counts one, if counters are on.
    pub fn add(&self) {
        if IS_ON.load(Ordering::Relaxed) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often it was, since counters are on.
    pub fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// From now on all counters count.
pub fn start() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Host calls of the platform.
pub static PLATFORM: [&Counter; 4] = [&RECEIVED, &ANSWERED, &COPIES, &WAKES];

pub(crate) static RECEIVED: Counter = Counter::new("notifications received");
pub(crate) static ANSWERED: Counter = Counter::new("notifications answered");
pub(crate) static COPIES: Counter = Counter::new("copies from and to guests");
pub(crate) static WAKES: Counter = Counter::new("guests woken in shared memory");
