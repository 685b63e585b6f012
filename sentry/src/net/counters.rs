//! What has passed in a network namespace, for `/proc/net/snmp` and `/proc/net/dev`.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Those of a namespace.
#[derive(Debug, Default)]
pub struct Counters {
    /// Packets over the loopback interface: each is sent and received. What stands for one is a call.
    pub lo_packets: Counter,
    /// Their bytes.
    pub lo_bytes: Counter,
    /// Connections begun.
    pub tcp_active: Counter,
    /// Connections taken.
    pub tcp_passive: Counter,
    /// Connections that were refused.
    pub tcp_failed: Counter,
    /// Connections that ended by a reset.
    pub tcp_reset: Counter,
    /// Segments.
    pub tcp_segments: Counter,
    /// Resets sent.
    pub tcp_resets_sent: Counter,
    /// Connections that a listener had no room for.
    pub tcp_overflows: Counter,
    /// Datagrams delivered, of IPv4 and IPv6.
    pub udp_in: [Counter; 2],
    /// Datagrams to ports that nobody has.
    pub udp_no_port: [Counter; 2],
    /// Datagrams sent.
    pub udp_out: [Counter; 2],
    /// Datagrams for which a receiver had no room.
    pub udp_full: [Counter; 2],
}

impl Counters {
    /// A packet of `len` bytes passes the loopback interface.
    pub fn loopback(&self, len: usize) {
        self.lo_packets.add(1);
        self.lo_bytes.add(len as u64);
    }
}

/// Counts one in a counter of both families.
pub fn count(of: &[Counter; 2], v4: bool) {
    if let Some(counter) = of.get(usize::from(!v4)) {
        counter.add(1);
    }
}
