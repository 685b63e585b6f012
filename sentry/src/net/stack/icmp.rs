//! ICMP and ICMPv6: echo, and what routers and hosts say of packets that did not arrive.

use super::packet::{Head, ICMP, ICMPV6, IPV4_LEN, IPV6_LEN, Packet, put_checksum, u16_at};
use crate::errno::Errno;
use crate::net::inet;
use crate::net::namespace::Net;
use crate::sync::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// `ICMP_ECHO`.
const ECHO: u8 = 8;
/// `ICMP6_ECHO_REQUEST`.
const ECHO6: u8 = 128;
/// `ICMP6_ECHO_REPLY`.
const ECHO_REPLY6: u8 = 129;
const UNREACHABLE: u8 = 3;
/// Its code that says that a packet was too long, and the type of ICMPv6 that does.
const TOO_BIG: u8 = 4;
const TOO_BIG6: u8 = 2;
const TIME_EXCEEDED: u8 = 11;
/// A query of who is a member of groups.
pub(super) const MLD_QUERY: u8 = 130;
const PARAMETER_PROBLEM: u8 = 12;
const UNREACHABLE6: u8 = 1;
const TIME_EXCEEDED6: u8 = 3;
const PARAMETER_PROBLEM6: u8 = 4;
/// Bytes of a packet that an error quotes: what fits into any link's packets.
const QUOTE4: usize = 548;
const QUOTE6: usize = 1232;
/// Errors in a second, so that nobody makes the sandbox flood another (`icmp_msgs_per_sec`).
const ERRORS_PER_SECOND: u32 = 1000;

/// A packet that an error is about.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a> {
    /// From whom: this host.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// What follows.
    pub protocol: u8,
    /// At least the ports.
    pub payload: &'a [u8],
    /// What the error says.
    pub complaint: Complaint,
}

/// Who says what of a packet that did not arrive.
#[derive(Debug, Clone, Copy)]
pub struct Complaint {
    /// Type and code of the message.
    pub kind: (u8, u8),
    /// Who sent it; this host itself if nobody.
    pub from: Option<IpAddr>,
    /// The interface that it came over.
    pub interface: u32,
}

impl Complaint {
    /// Nobody is at the address that a packet is for, as far as this host finds.
    pub fn host_unreachable(v4: bool, interface: u32) -> Complaint {
        Complaint { kind: if v4 { (UNREACHABLE, 1) } else { (UNREACHABLE6, 3) }, from: None, interface }
    }

    fn of(packet: &Packet<'_>, kind: (u8, u8)) -> Complaint {
        Complaint { kind, from: Some(packet.src), interface: packet.interface }
    }
}

impl<'a> Quoted<'a> {
    /// Reads a packet, of which there may be only the start.
    pub fn parse(bytes: &'a [u8], complaint: Complaint) -> Option<Quoted<'a>> {
        if bytes.first()? >> 4 == 4 {
            let head = bytes.first_chunk::<IPV4_LEN>()?;
            let address = |at| Some(Ipv4Addr::from(*head.get(at..)?.first_chunk::<4>()?).into());
            let payload = bytes.get(usize::from(bytes.first()? & 0xf) * 4..)?;
            return Some(Quoted { src: address(12)?, dst: address(16)?, protocol: *head.get(9)?, payload, complaint });
        }
        let head = bytes.first_chunk::<IPV6_LEN>()?;
        let address = |at| Some(Ipv6Addr::from(*head.get(at..)?.first_chunk::<16>()?).into());
        let payload = bytes.get(IPV6_LEN..)?;
        Some(Quoted { src: address(8)?, dst: address(24)?, protocol: *head.get(6)?, payload, complaint })
    }

    /// Both ports.
    pub fn ports(&self) -> Option<(u16, u16)> {
        Some((u16_at(self.payload, 0)?, u16_at(self.payload, 2)?))
    }
}

/// A message of ICMP or ICMPv6 to this host.
pub(super) fn input(net: &Net, packet: &Packet<'_>) {
    let message = packet.payload();
    let Some(([kind, code], rest)) = message.split_first_chunk::<2>() else { return };
    let v4 = packet.protocol == ICMP;
    let about = (rest, Complaint::of(packet, (*kind, *code)));
    match *kind {
        ECHO if v4 => echo_reply(net, packet, 0),
        ECHO6 if !v4 => echo_reply(net, packet, ECHO_REPLY6),
        UNREACHABLE if v4 && *code == TOO_BIG => too_big(net, about, rest.get(4..6)),
        TOO_BIG6 if !v4 => too_big(net, about, rest.get(4..6)),
        UNREACHABLE if v4 => error(net, about, unreachable(*code), true),
        TIME_EXCEEDED if v4 => error(net, about, Some(Errno::HOSTUNREACH), false),
        PARAMETER_PROBLEM if v4 => error(net, about, Some(Errno::PROTO), true),
        UNREACHABLE6 if !v4 => error(net, about, unreachable6(*code), true),
        TIME_EXCEEDED6 if !v4 => error(net, about, Some(Errno::HOSTUNREACH), false),
        PARAMETER_PROBLEM6 if !v4 => error(net, about, Some(Errno::PROTO), true),
        _ => {}
    }
}

/// A link on the way carries no packets as long as the quoted one: longest that it does, in the network's order. (Of
/// ICMPv6's four bytes the first two are zero for all links that there are.)
fn too_big(net: &Net, (rest, complaint): (&[u8], Complaint), mtu: Option<&[u8]>) {
    let quoted = rest.get(6..).and_then(|quoted| Quoted::parse(quoted, complaint));
    if let Some((quoted, mtu)) = quoted.zip(mtu.and_then(|mtu| u16_at(mtu, 0))) {
        inet::too_big(net, &quoted, mtu.into());
    }
}

/// What the packet that an error quotes means to its sender.
fn error(net: &Net, (rest, complaint): (&[u8], Complaint), errno: Option<Errno>, hard: bool) {
    let quoted = rest.get(6..).and_then(|quoted| Quoted::parse(quoted, complaint));
    if let Some((quoted, errno)) = quoted.zip(errno) {
        inet::failed(net, &quoted, errno, hard);
    }
}

fn unreachable(code: u8) -> Option<Errno> {
    match code {
        0 | 6 | 9 | 11 => Some(Errno::NETUNREACH),
        1 | 5 | 10 | 12 | 13 | 14 | 15 => Some(Errno::HOSTUNREACH),
        2 => Some(Errno::NOPROTOOPT),
        3 => Some(Errno::CONNREFUSED),
        _ => None,
    }
}

fn unreachable6(code: u8) -> Option<Errno> {
    match code {
        0 => Some(Errno::NETUNREACH),
        1 | 5 | 6 => Some(Errno::ACCES),
        2 | 3 => Some(Errno::HOSTUNREACH),
        4 => Some(Errno::CONNREFUSED),
        _ => None,
    }
}

/// What an echo request is answered with; `None` if it is none.
pub fn echo_answer(packet: &Packet<'_>) -> Option<(Head, Vec<u8>)> {
    let reply = match (packet.protocol, packet.payload().first()?) {
        (ICMP, &ECHO) => 0,
        (ICMPV6, &ECHO6) => ECHO_REPLY6,
        _ => return None,
    };
    let head = Head { src: packet.dst, dst: packet.src, protocol: packet.protocol, hops: 64, class: packet.class };
    let mut message = packet.payload().to_vec();
    *message.first_mut()? = reply;
    message.get_mut(2..4)?.fill(0);
    put_checksum(&head, &mut message, 2);
    Some((head, message))
}

fn echo_reply(net: &Net, packet: &Packet<'_>, _: u8) {
    // Nobody answers to a broadcast: that would let one packet cause many.
    if !net.layout().is_own(packet.dst) {
        return;
    }
    if let Some((head, message)) = echo_answer(packet) {
        let _ = net.send_by(&head, &message, &packet.back());
    }
}

/// Tells the sender of `packet` that nobody has the port it is for.
pub(super) fn port_unreachable(net: &Net, packet: &Packet<'_>) {
    if net.layout().is_own(packet.dst) {
        let code = if packet.dst.is_ipv4() { 3 } else { 4 };
        complain(net, packet, packet.dst, Refusal::Unreachable(code));
    }
}

/// Why a router does not pass on a packet.
#[derive(Debug, Clone, Copy)]
pub enum Refusal {
    /// There is no way, for the reason that this code gives.
    Unreachable(u8),
    /// It has come from too far.
    TimeExceeded,
    /// The next link carries no more than so many bytes.
    TooBig(usize),
    /// Its source means nothing elsewhere.
    BeyondScope,
}

impl Refusal {
    /// Type and code of the message, and the number in it.
    fn message(self, v4: bool) -> (u8, u8, u32) {
        match self {
            Refusal::Unreachable(code) => (if v4 { UNREACHABLE } else { UNREACHABLE6 }, code, 0),
            Refusal::TimeExceeded => (if v4 { TIME_EXCEEDED } else { TIME_EXCEEDED6 }, 0, 0),
            Refusal::TooBig(mtu) if v4 => (UNREACHABLE, TOO_BIG, u32::try_from(mtu).unwrap_or(0) & 0xffff),
            Refusal::TooBig(mtu) => (TOO_BIG6, 0, u32::try_from(mtu).unwrap_or(u32::MAX)),
            Refusal::BeyondScope => (UNREACHABLE6, 2, 0),
        }
    }
}

/// Tells the sender of a packet that was to be passed on that it was not.
pub fn refuse(net: &Net, packet: &Packet<'_>, refusal: Refusal) {
    // Nothing is said of parts but the first, nor of what is said of others.
    let is_part = packet.fragment.is_some_and(|fragment| fragment.offset > 0);
    let is_error = match (packet.protocol, packet.payload().first()) {
        (ICMP, Some(kind)) => matches!(*kind, UNREACHABLE | 4 | 5 | TIME_EXCEEDED | PARAMETER_PROBLEM),
        (ICMPV6, Some(kind)) => *kind < ECHO6,
        _ => false,
    };
    if is_part || is_error {
        return;
    }
    if let Ok(hop) = net.layout().hop(packet.src, &packet.back()) {
        complain(net, packet, hop.source, refusal);
    }
}

fn complain(net: &Net, packet: &Packet<'_>, from: IpAddr, refusal: Refusal) {
    if !may_send_error() {
        return;
    }
    let v4 = packet.dst.is_ipv4();
    let (kind, code, number) = refusal.message(v4);
    let (protocol, quote) = if v4 { (ICMP, QUOTE4) } else { (ICMPV6, QUOTE6) };
    let head = Head { src: from, dst: packet.src, protocol, hops: 64, class: 0 };
    let mut message = vec![kind, code, 0, 0];
    message.extend(number.to_be_bytes());
    message.extend_from_slice(packet.bytes.get(..quote.min(packet.bytes.len())).unwrap_or_default());
    put_checksum(&head, &mut message, 2);
    let _ = net.send_by(&head, &message, &packet.back());
}

fn may_send_error() -> bool {
    static SECOND: Mutex<Option<(Instant, u32)>> = Mutex::new(None);
    let now = Instant::now();
    let mut second = SECOND.lock();
    let (began, count) =
        second.filter(|(began, _)| now.duration_since(*began) < Duration::from_secs(1)).unwrap_or((now, 0));
    *second = Some((began, count + 1));
    count < ERRORS_PER_SECOND
}
