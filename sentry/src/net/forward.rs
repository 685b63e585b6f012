//! Packets between the interfaces of a namespace whose `ip_forward` or `forwarding` says that it is a router.

use super::namespace::Net;
use super::stack::icmp::{self, Refusal};
use super::stack::link::{Link, Offload, Received};
use super::stack::packet::{
    Fragment, HEADROOM, Head, IPV4_LEN, Packet, TCP, UDP, checksum, fold, pseudo_sum, put_checksum, sum, u16_at,
};
use super::stack::route::{Hop, Query, is_link_local};
use super::stack::{Outgoing, rest};
use crate::errno::Errno;
use std::net::IpAddr;

/// "May not be cut" in an IPv4 header.
const DONT_FRAGMENT: u16 = 0x4000;

/// A packet for others has come over `link`.
pub(super) fn input(net: &Net, link: &Link, packet: &Packet<'_>, received: &Received<'_>) {
    let v4 = packet.dst.is_ipv4();
    let is_router =
        if v4 { net.switch("ipv4", &link.name, "forwarding") } else { net.switch("ipv6", "all", "forwarding") };
    // What came to all of a link is for nobody else.
    if !is_router || received.is_group || !may_pass(net, packet) {
        return;
    }
    let layout = net.layout();
    let query = Query { from: Some(packet.src), iif: link.index, ..Query::default() };
    let hop = match layout.hop(packet.dst, &query) {
        Ok(hop) => hop,
        Err(errno) => return refuse(net, packet, unreachable(errno, v4)),
    };
    if packet.hops <= 1 {
        return refuse(net, packet, Some(Refusal::TimeExceeded));
    }
    let Some(out) = layout.link(hop.interface) else { return };
    let pass = |passed| pass(net, out.mtu, packet, passed, &hop);
    match received.datagrams {
        Some(size) if packet.protocol == UDP => each_datagram(packet, size, pass),
        _ => on_its_way(packet, received).map_or((), pass),
    }
}

/// Whether routers pass on packets with such addresses.
fn may_pass(net: &Net, packet: &Packet<'_>) -> bool {
    let is_odd = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [0 | 127 | 240.., ..]),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_loopback(),
    };
    if is_odd(packet.src) || is_odd(packet.dst) || packet.dst.is_ipv6() && is_link_local(packet.dst) {
        return false;
    }
    if packet.src.is_ipv6() && is_link_local(packet.src) {
        refuse(net, packet, Some(Refusal::BeyondScope));
        return false;
    }
    true
}

fn refuse(net: &Net, packet: &Packet<'_>, refusal: Option<Refusal>) {
    if let Some(refusal) = refusal {
        icmp::refuse(net, packet, refusal);
    }
}

/// What a sender is told when there is no way; nothing if the way is a black hole.
fn unreachable(errno: Errno, v4: bool) -> Option<Refusal> {
    match errno {
        Errno::NETUNREACH => Some(Refusal::Unreachable(0)),
        Errno::HOSTUNREACH => Some(Refusal::Unreachable(u8::from(v4))),
        Errno::ACCES => Some(Refusal::Unreachable(if v4 { 13 } else { 1 })),
        _ => None,
    }
}

/// Sends what has become of a packet over a link that carries so much.
fn pass(net: &Net, mtu: usize, packet: &Packet<'_>, passed: Outgoing<'static>, hop: &Hop) {
    let longest = match passed.offload {
        Offload::Tcp { headers, segment: Some(segment), .. } => usize::from(headers) + usize::from(segment),
        _ => passed.frame.len() - HEADROOM,
    };
    if longest <= mtu {
        return net.transmit(hop, passed);
    }
    let may_be_cut = packet.dst.is_ipv4() && u16_at(packet.bytes, 6).is_some_and(|flags| flags & DONT_FRAGMENT == 0);
    if may_be_cut && passed.offload == Offload::None {
        cut(&passed.frame, mtu, |frame| net.transmit(hop, Outgoing::whole(frame)));
    } else {
        refuse(net, packet, Some(Refusal::TooBig(mtu)));
    }
}

/// The packet with one hop less, with what is left to do for it.
fn on_its_way(packet: &Packet<'_>, received: &Received<'_>) -> Option<Outgoing<'static>> {
    let mut frame = vec![0; HEADROOM];
    frame.extend_from_slice(packet.bytes);
    let ip = frame.get_mut(HEADROOM..)?;
    if packet.dst.is_ipv4() {
        *ip.get_mut(8)? = packet.hops.saturating_sub(1);
        let head = ip.get_mut(..usize::from(ip.first()? & 0xf) * 4)?;
        head.get_mut(10..12)?.fill(0);
        let checksum = !fold(sum(head, 0));
        head.get_mut(10..12)?.copy_from_slice(&checksum.to_be_bytes());
    } else {
        *ip.get_mut(7)? = packet.hops.saturating_sub(1);
    }
    let rest = rest(received);
    if !rest.needs_checksum && rest.segment.is_none() {
        return Some(Outgoing::whole(frame));
    }
    if packet.protocol != TCP {
        // The sum of the pseudo-header is in place.
        let at = HEADROOM + packet.header;
        let place = at + if packet.protocol == UDP { 6 } else { 2 };
        let checksum = checksum(packet.protocol, frame.get(at..)?, 0);
        frame.get_mut(place..)?.first_chunk_mut::<2>()?.copy_from_slice(&checksum.to_be_bytes());
        return Some(Outgoing::whole(frame));
    }
    let tcp = usize::from(packet.payload().get(12)? >> 4) * 4;
    let partial = fold(pseudo_sum(packet.src, packet.dst, TCP, packet.payload().len()));
    frame.get_mut(HEADROOM + packet.header + 16..)?.first_chunk_mut::<2>()?.copy_from_slice(&partial.to_be_bytes());
    let (ip, headers) = (u16::try_from(packet.header).ok()?, u16::try_from(packet.header + tcp).ok()?);
    Some(Outgoing { frame, data: &[], offload: Offload::Tcp { ip, headers, segment: rest.segment } })
}

/// Cuts an IPv4 packet, which may be a part of another already, into parts that a link carries.
fn cut(frame: &[u8], mtu: usize, mut send: impl FnMut(Vec<u8>)) {
    let Some(packet) = frame.get(HEADROOM..).and_then(Packet::parse) else { return };
    let Packet { src, dst, protocol, hops, class, .. } = packet;
    let head = Head { src, dst, protocol, hops, class };
    let whole = Fragment { id: u16_at(packet.bytes, 4).unwrap_or(0).into(), offset: 0, more: false };
    let Fragment { id, offset: start, more } = packet.fragment.unwrap_or(whole);
    // Each part but the last has a multiple of 8 bytes.
    let size = (mtu.saturating_sub(IPV4_LEN) & !7).max(8);
    let payload = packet.payload();
    for (n, part) in payload.chunks(size).enumerate() {
        let at = n * size;
        let more = more || at + part.len() < payload.len();
        send(head.frame(part, Some(Fragment { id, offset: start + at, more })));
    }
}

/// Takes apart datagrams that came as one.
fn each_datagram(packet: &Packet<'_>, size: usize, mut send: impl FnMut(Outgoing<'static>)) {
    let Packet { src, dst, hops, class, .. } = *packet;
    let head = Head { src, dst, protocol: UDP, hops: hops.saturating_sub(1), class };
    let Some((ports, data)) = packet.payload().split_first_chunk::<8>() else { return };
    for part in data.chunks(size.max(1)) {
        let len = (8 + part.len()) as u16;
        let mut datagram = [&ports[..4], &len.to_be_bytes(), &[0, 0], part].concat();
        put_checksum(&head, &mut datagram, 6);
        send(Outgoing::whole(head.frame(&datagram, None)));
    }
}
