//! Packets that came in parts.

use super::packet::{Fragment, PACKET_MAX, Packet};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Packets of which parts may wait: 64 of the longest are 4 MiB.
const PACKETS_MAX: usize = 64;
/// Parts of one packet: the longest in pieces of 576 bytes.
const PARTS_MAX: usize = 120;
/// How long parts wait for the others (`ipfrag_time`).
const LIFETIME: Duration = Duration::from_secs(30);

type Key = (IpAddr, IpAddr, u8, u32);

#[derive(Debug)]
struct Partial {
    began: Instant,
    /// What there is, by place.
    parts: Vec<(usize, Vec<u8>)>,
    /// Length of the whole, once the last part is there.
    total: Option<usize>,
}

/// Packets of which parts are missing.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    partial: HashMap<Key, Partial>,
}

impl Fragments {
    /// Adds a part; the content of the whole packet if it was the last.
    pub(super) fn add(&mut self, packet: &Packet<'_>, fragment: Fragment, now: Instant) -> Option<Vec<u8>> {
        let payload = packet.payload();
        let end = fragment.offset + payload.len();
        if payload.is_empty() || end > PACKET_MAX || (fragment.more && !payload.len().is_multiple_of(8)) {
            return None;
        }
        let key = (packet.src, packet.dst, packet.protocol, fragment.id);
        self.make_room(&key, now);
        let partial = self.partial.entry(key).or_insert_with(|| Partial { began: now, parts: Vec::new(), total: None });
        if !fragment.more {
            partial.total = Some(end);
        }
        let overlaps = partial.parts.iter().any(|(at, part)| *at < end && fragment.offset < at + part.len());
        if overlaps || partial.parts.len() >= PARTS_MAX {
            // No honest sender does that: RFC 5722 has the whole packet dropped.
            self.partial.remove(&key);
            return None;
        }
        partial.parts.push((fragment.offset, payload.to_vec()));
        let have: usize = partial.parts.iter().map(|(_, part)| part.len()).sum();
        if partial.total != Some(have) {
            return None;
        }
        let mut parts = self.partial.remove(&key)?.parts;
        parts.sort_unstable_by_key(|(at, _)| *at);
        Some(parts.into_iter().flat_map(|(_, part)| part).collect())
    }

    fn make_room(&mut self, key: &Key, now: Instant) {
        if self.partial.len() < PACKETS_MAX || self.partial.contains_key(key) {
            return;
        }
        self.partial.retain(|_, partial| now.duration_since(partial.began) < LIFETIME);
        if self.partial.len() >= PACKETS_MAX {
            let oldest = self.partial.iter().min_by_key(|(_, partial)| partial.began).map(|(key, _)| *key);
            oldest.and_then(|key| self.partial.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::{HEADROOM, Head, UDP};
    use super::*;

    fn add(fragments: &mut Fragments, id: u32, offset: usize, more: bool, data: &[u8]) -> Option<Vec<u8>> {
        let (src, dst) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let head = Head { src, dst, protocol: UDP, hops: 64, class: 0 };
        let fragment = Fragment { id, offset, more };
        let frame = head.frame(data, Some(fragment));
        fragments.add(&Packet::parse(&frame[HEADROOM..]).unwrap(), fragment, Instant::now())
    }

    #[test]
    fn parts_come_in_any_order() {
        let mut fragments = Fragments::default();
        assert_eq!(add(&mut fragments, 1, 16, false, b"end"), None);
        assert_eq!(add(&mut fragments, 2, 0, true, b"elsewher"), None);
        assert_eq!(add(&mut fragments, 1, 8, true, b"middle 8"), None);
        assert_eq!(add(&mut fragments, 1, 0, true, b"start of"), Some(b"start ofmiddle 8end".to_vec()));
        assert_eq!(fragments.partial.len(), 1);
    }

    #[test]
    fn overlaps_and_floods_are_dropped() {
        let mut fragments = Fragments::default();
        add(&mut fragments, 1, 0, true, b"start of");
        assert_eq!(add(&mut fragments, 1, 0, false, b"other"), None);
        assert!(fragments.partial.is_empty());
        for id in 0..1000 {
            add(&mut fragments, id, 0, true, b"start of");
        }
        assert_eq!(fragments.partial.len(), PACKETS_MAX);
        assert_eq!(add(&mut fragments, 5000, 65528, true, &[0; 16]), None);
    }
}
