//! The way of a connection's packets: from its machine over an interface.
//!
//! The machine's packets go out behind the headers of the link, with the checksum and the cutting into segments left to
//! the host.

use crate::net::namespace::Net;
use crate::net::stack::link::Offload;
use crate::net::stack::packet::{HEADROOM, TCP, fold, pseudo_sum};
use crate::net::stack::tcp::Sent;
use crate::net::stack::{self, Outgoing, route::Hop};
use smallvec::SmallVec;

/// Completes a packet as far as the host does not, and puts it on its way.
pub(super) fn transmit(net: &Net, hop: &Hop, Sent { mut frame, data, cut }: Sent) {
    let Some(ip) = frame.get(HEADROOM..) else { return };
    let head = if ip.first().is_some_and(|first| first >> 4 == 4) { 20 } else { 40 };
    let Some(quoted) = stack::icmp::Quoted::parse(ip, stack::icmp::Complaint::host_unreachable(true, 0)) else {
        return;
    };
    let tcp = ip.get(head + 12).map_or(20, |offset| usize::from(offset >> 4) * 4);
    let len = ip.len() - head + data.iter().map(|piece| piece.len()).sum::<usize>();
    // The host adds up the rest.
    let partial = fold(pseudo_sum(quoted.src, quoted.dst, TCP, len));
    if let Some(place) = frame.get_mut(HEADROOM + head + 16..).and_then(|rest| rest.first_chunk_mut()) {
        *place = partial.to_be_bytes();
    }
    let offload = Offload::Tcp { ip: head as u16, headers: (head + tcp) as u16, segment: cut };
    let data: SmallVec<[&[u8]; 4]> = data.iter().map(|piece| &**piece).collect();
    net.transmit(hop, Outgoing { frame, data: &data, offload });
}
