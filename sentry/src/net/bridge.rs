//! Bridges (`ip link add type bridge`): interfaces that are their ports' switch, without a spanning tree.
//!
//! A frame that comes over a port goes on to the port behind which its destination was heard of, or to all. What is for
//! the bridge itself, or for all, is taken in as if it had come over the bridge. Interfaces say of which bridge they
//! are a port ([`Link::master`]); what was learnt of a port that is none any more means nothing.

use super::inet::Batch;
use super::layout::Layout;
use super::namespace::Net;
use super::stack::link::{Kind, Link, Mac};
use super::stack::packet::{HEADROOM, VNET_LEN};
use crate::sync::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Addresses that a bridge remembers: as many as small switches do. Behind more all ports are asked.
const TABLE_MAX: usize = 4096;
/// How often a full table is looked through for what is old.
const SWEEP: Duration = Duration::from_secs(1);
/// For how long an address is remembered (`ageing_time`).
const AGEING: Duration = Duration::from_secs(300);
/// A frame may be longer than packets are by a tag that it carries.
const TAG: usize = 4;
/// Groups that bridges keep to themselves (IEEE 802.1Q): all but the last four bits.
const KEPT: [u8; 5] = [0x01, 0x80, 0xc2, 0, 0];

/// What a bridge knows.
#[derive(Debug)]
pub struct Bridge {
    table: Mutex<Table>,
    ageing: AtomicU64,
    /// It has had ports.
    was_used: AtomicBool,
}

#[derive(Debug)]
struct Table {
    /// Behind which port an address was heard of, and when.
    seen: HashMap<Mac, (u32, Instant)>,
    swept: Instant,
}

impl Default for Bridge {
    fn default() -> Bridge {
        let table = Table { seen: HashMap::new(), swept: Instant::now() };
        let ageing = AtomicU64::new(AGEING.as_millis() as u64);
        Bridge { table: Mutex::new(table), ageing, was_used: AtomicBool::new(false) }
    }
}

impl Bridge {
    /// For how long an address is remembered.
    pub fn ageing(&self) -> Duration {
        Duration::from_millis(self.ageing.load(Ordering::Relaxed))
    }

    /// Sets that.
    pub fn set_ageing(&self, time: Duration) {
        self.ageing.store(time.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether it has had ports: until then it works for itself.
    pub fn was_used(&self) -> bool {
        self.was_used.load(Ordering::Relaxed)
    }

    /// It has ports.
    pub fn use_it(&self) {
        self.was_used.store(true, Ordering::Relaxed);
    }

    /// Somebody with this address is behind a port.
    fn learn(&self, mac: Mac, port: u32, is_own: impl FnOnce() -> bool) {
        let (now, ageing) = (Instant::now(), self.ageing());
        let mut table = self.table.lock();
        if let Some(known) = table.seen.get_mut(&mac) {
            *known = (port, now);
            return;
        }
        if table.seen.len() >= TABLE_MAX && now.duration_since(table.swept) > SWEEP {
            table.swept = now;
            table.seen.retain(|_, (_, seen)| now.duration_since(*seen) <= ageing);
        }
        if table.seen.len() < TABLE_MAX && !is_own() {
            table.seen.insert(mac, (port, now));
        }
    }

    /// Behind which port an address is.
    fn find(&self, mac: Mac) -> Option<u32> {
        let (port, seen) = *self.table.lock().seen.get(&mac)?;
        (seen.elapsed() <= self.ageing()).then_some(port)
    }
}

/// The ports of a bridge that are on.
fn ports(layout: &Layout, bridge: u32) -> impl Iterator<Item = &Arc<Link>> {
    layout.links().iter().filter(move |link| link.master == bridge && link.up)
}

/// Destination and source of a frame.
fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let (to, from) = frame.get(VNET_LEN..)?.split_first_chunk::<6>()?;
    Some((*to, *from.first_chunk()?))
}

/// A frame has come over a port.
pub(super) fn input(net: &Net, port: &Link, frame: &[u8], batch: &mut Batch) {
    let layout = net.layout();
    let Some((to, from)) = addresses(frame) else { return };
    let Some(bridge) = layout.link(port.master).filter(|bridge| bridge.up) else { return };
    let Kind::Bridge(known) = &bridge.device.kind else { return };
    // Nobody has the address of a group, or none.
    if from[0] & 1 != 0 || from == [0; 6] {
        return;
    }
    let is_own =
        |mac: Mac| mac == bridge.mac || layout.links().iter().any(|own| own.master == bridge.index && own.mac == mac);
    known.learn(from, port.index, || is_own(from));
    if to == bridge.mac {
        return net.receive(bridge, frame, None, batch);
    }
    if to[0] & 1 != 0 {
        let [.., last] = to;
        if !to.starts_with(&KEPT) || last & 0xf0 != 0 || last == 0 {
            flood(net, &layout, bridge.index, Some(port.index), frame);
        }
        return net.receive(bridge, frame, None, batch);
    }
    let behind =
        known.find(to).and_then(|index| layout.link(index)).filter(|link| link.master == bridge.index && link.up);
    match behind {
        Some(link) if link.index == port.index => {}
        Some(link) => pass(net, link, frame),
        None if is_own(to) => net.receive(bridge, &readdressed(frame, bridge.mac), None, batch),
        None => flood(net, &layout, bridge.index, Some(port.index), frame),
    }
}

/// What is for a port's own address is the bridge's.
fn readdressed(frame: &[u8], to: Mac) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(place) = frame.get_mut(VNET_LEN..).and_then(|rest| rest.first_chunk_mut()) {
        *place = to;
    }
    frame
}

/// A frame of this host goes out over a bridge; whether it does.
pub(super) fn output(net: &Net, bridge: &Link, known: &Bridge, frame: &[u8]) -> bool {
    let layout = net.layout();
    let Some((to, _)) = addresses(frame) else { return false };
    let behind = known.find(to).filter(|_| to[0] & 1 == 0).and_then(|index| layout.link(index));
    match behind.filter(|link| link.master == bridge.index && link.up) {
        Some(link) => pass(net, link, frame),
        None => flood(net, &layout, bridge.index, None, frame),
    }
    true
}

/// Sends a frame over all ports, but not back.
fn flood(net: &Net, layout: &Layout, bridge: u32, except: Option<u32>, frame: &[u8]) {
    ports(layout, bridge).filter(|link| Some(link.index) != except).for_each(|link| pass(net, link, frame));
}

/// Sends a frame over a port, if it is not too long: who sent it learns nothing of that.
fn pass(net: &Net, port: &Link, frame: &[u8]) {
    // One that is still to be cut into segments is as long as those.
    let is_whole = frame.get(1).is_some_and(|gso| *gso == 0);
    if port.up && (!is_whole || frame.len() <= HEADROOM + port.mtu + TAG) {
        port.put_frame(net, frame.to_vec());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let bridge = Bridge::default();
        for n in 0..2 * TABLE_MAX as u32 {
            let [a, b, c, d] = n.to_be_bytes();
            bridge.learn([2, 0, a, b, c, d], 7, || false);
        }
        assert_eq!(bridge.table.lock().seen.len(), TABLE_MAX);
        assert_eq!(bridge.find([2, 0, 0, 0, 0, 1]), Some(7));
        bridge.learn([2, 0, 0, 0, 0, 1], 8, || false);
        assert_eq!(bridge.find([2, 0, 0, 0, 0, 1]), Some(8));
        bridge.set_ageing(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(bridge.find([2, 0, 0, 0, 0, 1]), None);
    }
}
