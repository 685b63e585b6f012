//! What has passed, for `/proc/net/snmp` and `/proc/net/dev`.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Packets over the loopback interface: each is sent and received. What stands for one is a call.
pub static LO_PACKETS: Counter = Counter::new();
/// Their bytes.
pub static LO_BYTES: Counter = Counter::new();
/// Connections begun.
pub static TCP_ACTIVE: Counter = Counter::new();
/// Connections taken.
pub static TCP_PASSIVE: Counter = Counter::new();
/// Connections that were refused.
pub static TCP_FAILED: Counter = Counter::new();
/// Connections that ended by a reset.
pub static TCP_RESET: Counter = Counter::new();
/// Segments.
pub static TCP_SEGMENTS: Counter = Counter::new();
/// Resets sent.
pub static TCP_RESETS_SENT: Counter = Counter::new();
/// Connections that a listener had no room for.
pub static TCP_OVERFLOWS: Counter = Counter::new();
/// Datagrams delivered, of IPv4 and IPv6.
pub static UDP_IN: [Counter; 2] = [Counter::new(), Counter::new()];
/// Datagrams to ports that nobody has.
pub static UDP_NO_PORT: [Counter; 2] = [Counter::new(), Counter::new()];
/// Datagrams sent.
pub static UDP_OUT: [Counter; 2] = [Counter::new(), Counter::new()];
/// Datagrams for which a receiver had no room.
pub static UDP_FULL: [Counter; 2] = [Counter::new(), Counter::new()];

/// A packet of `len` bytes passes the loopback interface.
pub fn loopback(len: usize) {
    LO_PACKETS.add(1);
    LO_BYTES.add(len as u64);
}

/// The index of a family in counters of both.
pub fn family(v4: bool) -> usize {
    usize::from(!v4)
}

/// Counts one in a counter of both families.
pub fn count(of: &[Counter; 2], v4: bool) {
    if let Some(counter) = of.get(family(v4)) {
        counter.add(1);
    }
}
