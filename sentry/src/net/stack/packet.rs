//! IP packets: what is read of them, and how they are made. Nothing here trusts a length.

use super::route::Query;
use super::scope;
use super::tcp::Frame;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room before an IP packet that goes out: `virtio_net_hdr` and Ethernet header.
pub const HEADROOM: usize = VNET_LEN + ETHERNET_LEN;
/// `sizeof(struct virtio_net_hdr)`.
pub const VNET_LEN: usize = 10;
/// Length of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;
/// Longest IP packet.
pub const PACKET_MAX: usize = 65535;
/// Length of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Length of an IPv6 header.
pub const IPV6_LEN: usize = 40;
/// Extension headers of an IPv6 packet that are looked behind: no sender needs as many.
const EXTENSIONS_MAX: usize = 8;

/// Protocol numbers.
pub const ICMP: u8 = libc::IPPROTO_ICMP as u8;
/// TCP.
pub const TCP: u8 = libc::IPPROTO_TCP as u8;
/// UDP.
pub const UDP: u8 = libc::IPPROTO_UDP as u8;
/// ICMPv6.
pub const ICMPV6: u8 = libc::IPPROTO_ICMPV6 as u8;

/// A received IP packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The whole of it.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub src: IpAddr,
    /// For whom it is.
    pub dst: IpAddr,
    /// What follows the headers.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// Type of service, or traffic class.
    pub class: u8,
    /// Length of all headers.
    pub header: usize,
    /// It is a part of a packet.
    pub fragment: Option<Fragment>,
    /// The interface it came over; 0 if it came over none.
    pub interface: u32,
    /// The memory that it is in, if that can be kept.
    pub frame: Option<&'a Frame>,
}

/// Which part of a packet a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Of which packet.
    pub id: u32,
    /// From which byte of its content on.
    pub offset: usize,
    /// Others follow.
    pub more: bool,
}

/// The big-endian number at `at`.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The big-endian number at `at`.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'a> Packet<'a> {
    /// Reads the headers; `None` if they are wrong. Bytes behind the packet are left out.
    pub fn parse(bytes: &'a [u8]) -> Option<Packet<'a>> {
        match bytes.first()? >> 4 {
            4 => Packet::parse_v4(bytes),
            6 => Packet::parse_v6(bytes),
            _ => None,
        }
    }

    fn parse_v4(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let head = bytes.first_chunk::<IPV4_LEN>()?;
        let header = usize::from(bytes.first()? & 0xf) * 4;
        let total = usize::from(u16_at(head, 2)?);
        if header < IPV4_LEN || total < header || fold(sum(bytes.get(..header)?, 0)) != 0xffff {
            return None;
        }
        let flags = u16_at(head, 6)?;
        let fragment = Fragment {
            id: u16_at(head, 4)?.into(),
            offset: usize::from(flags & 0x1fff) * 8,
            more: flags & 0x2000 != 0,
        };
        Some(Packet {
            bytes: bytes.get(..total)?,
            src: Ipv4Addr::from(u32_at(head, 12)?).into(),
            dst: Ipv4Addr::from(u32_at(head, 16)?).into(),
            protocol: *head.get(9)?,
            hops: *head.get(8)?,
            class: *head.get(1)?,
            header,
            fragment: Some(fragment).filter(|f| f.more || f.offset != 0),
            interface: 0,
            frame: None,
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let head = bytes.first_chunk::<IPV6_LEN>()?;
        let bytes = bytes.get(..IPV6_LEN + usize::from(u16_at(head, 4)?))?;
        let address = |at| Some(IpAddr::from(Ipv6Addr::from(*head.get(at..)?.first_chunk::<16>()?)));
        let class = (u16_at(head, 0)? >> 4) as u8;
        let mut packet = Packet {
            bytes,
            src: address(8)?,
            dst: address(24)?,
            protocol: *head.get(6)?,
            hops: *head.get(7)?,
            class,
            header: IPV6_LEN,
            fragment: None,
            interface: 0,
            frame: None,
        };
        for _ in 0..EXTENSIONS_MAX {
            let at = packet.header;
            match i32::from(packet.protocol) {
                libc::IPPROTO_HOPOPTS | libc::IPPROTO_ROUTING | libc::IPPROTO_DSTOPTS => {
                    packet.protocol = *bytes.get(at)?;
                    packet.header += (usize::from(*bytes.get(at + 1)?) + 1) * 8;
                }
                libc::IPPROTO_FRAGMENT => {
                    let place = u16_at(bytes, at + 2)?;
                    let (offset, more) = (usize::from(place & !7), place & 1 != 0);
                    packet.fragment = Some(Fragment { id: u32_at(bytes, at + 4)?, offset, more });
                    packet.protocol = *bytes.get(at)?;
                    packet.header += 8;
                    break;
                }
                _ => break,
            }
        }
        (packet.header <= bytes.len()).then_some(packet)
    }

    /// What chooses the way back to its sender.
    pub fn back(&self) -> Query {
        Query { oif: if scope::is_scoped(self.src) { self.interface } else { 0 }, ..Query::default() }
    }

    /// What follows the headers.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.header..).unwrap_or_default()
    }

    /// Whether the checksum of what follows the headers, a transport protocol, is right.
    pub fn has_valid_checksum(&self) -> bool {
        let payload = self.payload();
        match self.protocol {
            ICMP => fold(sum(payload, 0)) == 0xffff,
            // None was made.
            UDP if self.dst.is_ipv4() && u16_at(payload, 6) == Some(0) => true,
            _ => fold(sum(payload, pseudo_sum(self.src, self.dst, self.protocol, payload.len()))) == 0xffff,
        }
    }
}

/// Adds up `bytes` as 16-bit numbers of the network.
pub fn sum(bytes: &[u8], initial: u64) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    pairs.iter().fold(initial + last, |sum, pair| sum + u64::from(u16::from_be_bytes(*pair)))
}

/// The sum in 16 bits.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the pseudo-header that transport protocols put under their checksums.
pub fn pseudo_sum(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u64 {
    let of = |ip| match ip {
        IpAddr::V4(ip) => sum(&Ipv4Addr::octets(&ip), 0),
        IpAddr::V6(ip) => sum(&Ipv6Addr::octets(&ip), 0),
    };
    of(src) + of(dst) + u64::from(protocol) + len as u64
}

/// What an IP header says.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// From.
    pub src: IpAddr,
    /// To.
    pub dst: IpAddr,
    /// What follows.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// Type of service, or traffic class.
    pub class: u8,
}

impl Head {
    /// The length that the header has.
    pub fn header_len(&self) -> usize {
        if self.dst.is_ipv4() { IPV4_LEN } else { IPV6_LEN }
    }

    /// A frame with room for the link's headers, the IP header, and `payload`.
    pub fn frame(&self, payload: &[u8], fragment: Option<Fragment>) -> Vec<u8> {
        let mut frame = self.begin(payload.len(), 0, fragment);
        frame.extend_from_slice(payload);
        frame
    }

    /// A frame with room for the link's headers, and the IP header for `len` bytes that are to follow; `beside` more come
    /// from elsewhere.
    pub fn start(&self, len: usize, beside: usize) -> Vec<u8> {
        self.begin(len, beside, None)
    }

    fn begin(&self, len: usize, beside: usize, fragment: Option<Fragment>) -> Vec<u8> {
        let extension = if fragment.is_some() && self.dst.is_ipv6() { 8 } else { 0 };
        let mut frame = Vec::with_capacity(HEADROOM + self.header_len() + extension + len);
        frame.resize(HEADROOM, 0);
        let len = len + beside;
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                frame.extend(self.v4(src, dst, len, fragment));
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.v6(&mut frame, src, dst, len, fragment),
            // Callers choose the source for the destination.
            _ => {}
        }
        frame
    }

    fn v4(&self, src: Ipv4Addr, dst: Ipv4Addr, len: usize, fragment: Option<Fragment>) -> [u8; IPV4_LEN] {
        // Whole packets may not be cut on the way; their id then says nothing.
        let (id, place) = match fragment {
            Some(f) => (f.id as u16, (f.offset / 8) as u16 | if f.more { 0x2000 } else { 0 }),
            None => (0, 0x4000),
        };
        let [total, id, place] = [(IPV4_LEN + len) as u16, id, place].map(u16::to_be_bytes);
        let ([a, b, c, d], [e, f, g, h]) = (src.octets(), dst.octets());
        let mut head = [
            0x45,
            self.class,
            total[0],
            total[1],
            id[0],
            id[1],
            place[0],
            place[1],
            self.hops,
            self.protocol,
            0,
            0,
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
        ];
        [head[10], head[11]] = (!fold(sum(&head, 0))).to_be_bytes();
        head
    }

    fn v6(&self, frame: &mut Vec<u8>, src: Ipv6Addr, dst: Ipv6Addr, len: usize, fragment: Option<Fragment>) {
        let (protocol, extension) =
            if fragment.is_some() { (libc::IPPROTO_FRAGMENT as u8, 8) } else { (self.protocol, 0) };
        frame.extend((0x6000_0000 | u32::from(self.class) << 20).to_be_bytes());
        frame.extend(((len + extension) as u16).to_be_bytes());
        frame.extend([protocol, self.hops]);
        frame.extend(src.octets());
        frame.extend(dst.octets());
        if let Some(f) = fragment {
            frame.extend([self.protocol, 0]);
            frame.extend((f.offset as u16 | u16::from(f.more)).to_be_bytes());
            frame.extend(f.id.to_be_bytes());
        }
    }
}

/// Puts the checksum of a transport protocol into `payload` at `at`, where there is a zero.
pub fn put_checksum(head: &Head, payload: &mut [u8], at: usize) {
    let initial = if head.protocol == ICMP { 0 } else { pseudo_sum(head.src, head.dst, head.protocol, payload.len()) };
    let checksum = checksum(head.protocol, payload, initial);
    if let Some(place) = payload.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = checksum.to_be_bytes();
    }
}

/// The checksum of a protocol's message, of which `initial` is added up already.
pub fn checksum(protocol: u8, message: &[u8], initial: u64) -> u16 {
    match !fold(sum(message, initial)) {
        // Zero would say that there is none.
        0 if protocol == UDP => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(src: &str, dst: &str, protocol: u8) -> Head {
        Head { src: src.parse().unwrap(), dst: dst.parse().unwrap(), protocol, hops: 64, class: 3 }
    }

    #[test]
    fn packets_are_read_as_made() {
        for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let head = head(src, dst, UDP);
            let mut payload = [0, 1, 0, 2, 0, 10, 0, 0, 7, 9];
            put_checksum(&head, &mut payload, 6);
            let mut frame = head.frame(&payload, None);
            frame.extend([0; 20]);
            let packet = Packet::parse(&frame[HEADROOM..]).unwrap();
            assert_eq!((packet.src, packet.dst, packet.protocol), (head.src, head.dst, UDP));
            assert_eq!((packet.hops, packet.class, packet.payload()), (64, 3, payload.as_slice()));
            assert!(packet.has_valid_checksum() && packet.fragment.is_none());
            let cut = Fragment { id: 77, offset: 1480, more: true };
            let frame = head.frame(&payload, Some(cut));
            assert_eq!(Packet::parse(&frame[HEADROOM..]).unwrap().fragment, Some(cut));
        }
    }

    #[test]
    fn anything_may_come() {
        let mut seed = 1u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        for round in 0..200_000 {
            let mut bytes: Vec<u8> = (0..round % 97).map(|_| next()).collect();
            if let Some(first) = bytes.first_mut() {
                *first = if round % 2 == 0 { 0x45 } else { 0x60 };
            }
            if let Some(packet) = Packet::parse(&bytes) {
                packet.has_valid_checksum();
            }
        }
    }
}
