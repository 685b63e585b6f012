//! ICMP towards the guests: that a packet did not arrive, and the echo of the router itself.

use super::link::Link;
use super::world::{Closed, GATEWAY4, GATEWAY6};
use rustix::io::Errno;
use sentry::net::stack::packet::{HEADROOM, Head, ICMP, ICMPV6, Packet, put_checksum};
use std::net::IpAddr;

/// Bytes of a packet that an error quotes: both headers and more.
const QUOTE: usize = 548;

/// Why a packet did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Network,
    Host,
    Port,
    Forbidden,
}

impl Reason {
    /// What an error of a host's socket means; `None` if the sender may find out by itself.
    pub(super) fn of(errno: Errno) -> Option<Reason> {
        match errno {
            Errno::NETUNREACH | Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::INVAL => Some(Reason::Network),
            Errno::HOSTUNREACH | Errno::HOSTDOWN => Some(Reason::Host),
            Errno::CONNREFUSED => Some(Reason::Port),
            Errno::ACCESS | Errno::PERM | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                Some(Reason::Forbidden)
            }
            _ => None,
        }
    }

    /// What a closed address means; nobody answers for many.
    pub(super) fn closed(closed: Closed) -> Option<Reason> {
        match closed {
            Closed::Forbidden => Some(Reason::Forbidden),
            Closed::Nobody => Some(Reason::Host),
            Closed::Group => None,
        }
    }

    /// Type and code of the message.
    fn message(self, v4: bool) -> [u8; 2] {
        match (self, v4) {
            (Reason::Network, true) => [3, 0],
            (Reason::Host, true) => [3, 1],
            (Reason::Port, true) => [3, 3],
            (Reason::Forbidden, true) => [3, 13],
            (Reason::Network, false) => [1, 0],
            (Reason::Forbidden, false) => [1, 1],
            (Reason::Host, false) => [1, 3],
            (Reason::Port, false) => [1, 4],
        }
    }
}

/// Tells the sender of a packet that it did not arrive.
pub(super) fn unreachable(link: &mut Link, packet: &[u8], reason: Reason) {
    let Some(Packet { src, dst, .. }) = Packet::parse(packet) else { return };
    let v4 = dst.is_ipv4();
    let router: IpAddr = if v4 { GATEWAY4.into() } else { GATEWAY6.into() };
    let from = if reason == Reason::Port { dst } else { router };
    let head = Head { src: from, dst: src, protocol: if v4 { ICMP } else { ICMPV6 }, hops: 64, class: 0 };
    let mut message = Vec::from(reason.message(v4));
    message.resize(8, 0);
    message.extend(packet.iter().take(QUOTE));
    put_checksum(&head, &mut message, 2);
    link.send(&head, &message);
}

/// The same of a packet of which only the start is known: `transport` are its ports, or its id.
pub(super) fn unreachable_flow(link: &mut Link, head: &Head, transport: &[u8], reason: Reason) {
    let frame = head.frame(transport, None);
    if let Some(packet) = frame.get(HEADROOM..) {
        unreachable(link, packet, reason);
    }
}
