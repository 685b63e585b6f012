//! The way of a connection's packets: from its machine over an interface.
//!
//! The machine's packets go out behind the headers of the link, with the checksum and the cutting into segments left to
//! the host.

use crate::net::namespace::Net;
use crate::net::stack::link::Offload;
use crate::net::stack::packet::{HEADROOM, TCP, fold, pseudo_sum};
use crate::net::stack::tcp::segment::Segment;
use crate::net::stack::tcp::{Machine, Room, Sent};
use crate::net::stack::{self, Outgoing, route::Hop};
use std::net::IpAddr;
use std::sync::Weak;
use std::time::Instant;

/// Packets that one call puts out before others get their turn: a window's worth.
const BURST: usize = 256;

/// The machine, and the way that its packets go.
pub(super) struct Wire {
    pub(super) machine: Machine,
    hop: Hop,
    net: Weak<Net>,
}

impl Wire {
    /// A machine for packets from `local` over `hop` of a namespace; `mtu` is that of the link, `room` what fits into each direction:
    /// received, sent.
    pub(super) fn new(local: IpAddr, (hop, net): (Hop, Weak<Net>), mtu: usize, room: (Room, Room)) -> Wire {
        Wire { machine: Machine::new(local, mtu, room, Instant::now()), hop, net }
    }

    /// Takes a segment in.
    pub(super) fn input(&mut self, segment: &Segment<'_>) {
        self.machine.input(segment, Instant::now());
    }

    /// Sends what is to be sent now.
    pub(super) fn output(&mut self) {
        let now = Instant::now();
        for _ in 0..BURST {
            if !self.machine.output(now) {
                return;
            }
            let Some(net) = self.net.upgrade() else { return };
            for packet in self.machine.take() {
                transmit(&net, &self.hop, packet);
            }
        }
    }
}

/// Completes a packet as far as the host does not, and puts it on its way.
fn transmit(net: &Net, hop: &Hop, (mut frame, segment): Sent) {
    let Some(ip) = frame.get(HEADROOM..) else { return };
    let head = if ip.first().is_some_and(|first| first >> 4 == 4) { 20 } else { 40 };
    let Some(quoted) = stack::icmp::Quoted::parse(ip, stack::icmp::Complaint::host_unreachable(true, 0)) else {
        return;
    };
    let tcp = ip.get(head + 12).map_or(20, |offset| usize::from(offset >> 4) * 4);
    let len = ip.len() - head;
    // The host adds up the rest.
    let partial = fold(pseudo_sum(quoted.src, quoted.dst, TCP, len));
    if let Some(place) = frame.get_mut(HEADROOM + head + 16..).and_then(|rest| rest.first_chunk_mut()) {
        *place = partial.to_be_bytes();
    }
    let offload = Offload::Tcp { ip: head as u16, headers: (head + tcp) as u16, segment };
    net.transmit(hop, Outgoing { frame, offload });
}
