//! What is said of memberships, and asked: reports and queries of IGMP (RFC 3376) and MLD (RFC 3810). Nothing here trusts a
//! length.

use super::Sources;
use crate::net::namespace::Net;
use crate::net::stack::link::Link;
use crate::net::stack::packet::{
    HEADROOM, Head, ICMPV6, IPV4_LEN, IPV6_LEN, Packet, fold, put_checksum, sum, u16_at, u32_at,
};
use crate::net::stack::route::is_link_local;
use crate::net::stack::{self, multicast_mac};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// `IPPROTO_IGMP`.
pub(in crate::net) const IGMP: u8 = libc::IPPROTO_IGMP as u8;
/// Queries and reports, of IGMP and MLD, and reports of their older versions.
const QUERY: u8 = 0x11;
const QUERY6: u8 = 130;
const REPORT: u8 = 0x22;
const REPORT6: u8 = 143;
const OLD_REPORT: u8 = 0x16;
const OLD_REPORT6: u8 = 131;
/// Who hears reports.
const ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
const ROUTERS6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Bytes of records in a packet: it fits into any link's packets.
const RECORDS_MAX: usize = 1200;
/// `IP_ROUTER_ALERT`, and the header that has the same of IPv6.
const ALERT: [u8; 4] = [0x94, 4, 0, 0];
const ALERT6: [u8; 8] = [ICMPV6, 0, 5, 2, 0, 0, 1, 0];

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    IsOnly = 1,
    IsExcept = 2,
    ToOnly = 3,
    ToExcept = 4,
    Allow = 5,
    Block = 6,
}

/// What is said of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) group: IpAddr,
    pub(super) sources: BTreeSet<IpAddr>,
}

impl Record {
    /// How it is with a group.
    pub(super) fn state(group: IpAddr, sources: &Sources) -> Record {
        match sources {
            Sources::Except(sources) => Record { kind: Kind::IsExcept, group, sources: sources.clone() },
            Sources::Only(sources) => Record { kind: Kind::IsOnly, group, sources: sources.clone() },
        }
    }

    /// What has changed.
    pub(super) fn changes(group: IpAddr, before: &Sources, after: &Sources) -> Vec<Record> {
        let record = |kind, sources| Record { kind, group, sources };
        let less = |a: &BTreeSet<IpAddr>, b: &BTreeSet<IpAddr>| a.difference(b).copied().collect::<BTreeSet<_>>();
        let all = match (before, after) {
            (Sources::Only(_), Sources::Except(sources)) => return vec![record(Kind::ToExcept, sources.clone())],
            (Sources::Except(_), Sources::Only(sources)) => return vec![record(Kind::ToOnly, sources.clone())],
            (Sources::Only(a), Sources::Only(b)) => [record(Kind::Allow, less(b, a)), record(Kind::Block, less(a, b))],
            (Sources::Except(a), Sources::Except(b)) => {
                [record(Kind::Allow, less(a, b)), record(Kind::Block, less(b, a))]
            }
        };
        all.into_iter().filter(|record| !record.sources.is_empty()).collect()
    }

    /// Its bytes; of more sources than fit the others are left away.
    fn bytes(&self) -> Vec<u8> {
        let v4 = self.group.is_ipv4();
        let most = (RECORDS_MAX - 20) / if v4 { 4 } else { 16 };
        let sources: Vec<_> = self.sources.iter().take(most).collect();
        let mut bytes = vec![self.kind as u8, 0];
        bytes.extend((sources.len() as u16).to_be_bytes());
        put_ip(&mut bytes, self.group);
        sources.into_iter().for_each(|source| put_ip(&mut bytes, *source));
        bytes
    }
}

fn put_ip(bytes: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => bytes.extend(ip.octets()),
        IpAddr::V6(ip) => bytes.extend(ip.octets()),
    }
}

/// Sends records over an interface, in as many packets as it takes.
pub(super) fn send(net: &Net, link: &Link, v4: bool, records: &[Record]) {
    let (mut bytes, mut count) = (Vec::new(), 0u16);
    for record in records.iter().map(Record::bytes) {
        if bytes.len() + record.len() > RECORDS_MAX && count > 0 {
            send_report(net, link, v4, (&bytes, count));
            (bytes, count) = (Vec::new(), 0);
        }
        bytes.extend(record);
        count += 1;
    }
    if count > 0 {
        send_report(net, link, v4, (&bytes, count));
    }
}

fn send_report(net: &Net, link: &Link, v4: bool, (records, count): (&[u8], u16)) {
    let mut message = vec![if v4 { REPORT } else { REPORT6 }, 0, 0, 0, 0, 0];
    message.extend(count.to_be_bytes());
    message.extend_from_slice(records);
    put(net, link, if v4 { ROUTERS.into() } else { ROUTERS6.into() }, message);
}

/// Says of a group that there are members, as those want to hear it who know nothing newer.
pub(super) fn send_old(net: &Net, link: &Link, group: IpAddr) {
    let mut message = if group.is_ipv4() { vec![OLD_REPORT, 0, 0, 0] } else { vec![OLD_REPORT6, 0, 0, 0, 0, 0, 0, 0] };
    put_ip(&mut message, group);
    put(net, link, group, message);
}

/// Puts a message on its way: no farther than the next router, which is to look at it.
fn put(net: &Net, link: &Link, to: IpAddr, mut message: Vec<u8>) {
    let own = |of_link: bool| {
        let all = link.addresses.iter().map(|own| own.ip);
        all.filter(|ip| ip.is_ipv4() == to.is_ipv4()).find(|ip| !of_link || is_link_local(*ip))
    };
    let mut frame = vec![0; HEADROOM];
    match to {
        IpAddr::V4(to) => {
            let Some(IpAddr::V4(from)) = own(false).or(Some(Ipv4Addr::UNSPECIFIED.into())) else { return };
            let checksum = !fold(sum(&message, 0));
            fill(&mut message, 2, checksum);
            let len = (IPV4_LEN + ALERT.len() + message.len()) as u16;
            let mut head = vec![0x46, 0xc0];
            head.extend(len.to_be_bytes());
            head.extend([0, 0, 0x40, 0, 1, IGMP, 0, 0]);
            head.extend(from.octets());
            head.extend(to.octets());
            head.extend(ALERT);
            let checksum = !fold(sum(&head, 0));
            fill(&mut head, 10, checksum);
            frame.extend(head);
        }
        IpAddr::V6(to) => {
            let Some(IpAddr::V6(from)) = own(true).or(Some(Ipv6Addr::UNSPECIFIED.into())) else { return };
            let head = Head { src: from.into(), dst: to.into(), protocol: ICMPV6, hops: 1, class: 0 };
            put_checksum(&head, &mut message, 2);
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(((ALERT6.len() + message.len()) as u16).to_be_bytes());
            frame.extend([libc::IPPROTO_HOPOPTS as u8, 1]);
            frame.extend(from.octets());
            frame.extend(to.octets());
            frame.extend(ALERT6);
        }
    }
    debug_assert!(frame.len() >= HEADROOM + IPV4_LEN.min(IPV6_LEN));
    frame.extend(message);
    link.send(net, stack::Outgoing::whole(frame), multicast_mac(to), stack::kind_of(to));
}

fn fill(bytes: &mut [u8], at: usize, number: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

/// A query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) v4: bool,
    /// Which group it asks for; all if none.
    pub(super) group: Option<IpAddr>,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// Who asks knows nothing of sources.
    pub(super) old: bool,
}

impl Query {
    /// Reads a query that came from the link itself.
    pub(super) fn parse(packet: &Packet<'_>) -> Option<Query> {
        let message = packet.payload();
        if packet.hops != 1 {
            return None;
        }
        if packet.protocol == IGMP {
            let is_whole = fold(sum(message, 0)) == 0xffff;
            if *message.first()? != QUERY || !is_whole {
                return None;
            }
            let code = *message.get(1)?;
            let group = Ipv4Addr::from(u32_at(message, 4)?);
            let old = message.len() < 12;
            let tenths = match code {
                // The oldest say nothing.
                0 if old => 100,
                _ if old || code < 128 => u64::from(code),
                _ => (u64::from(code & 0xf) | 0x10) << ((code >> 4 & 7) + 3),
            };
            let patience = Duration::from_millis(tenths * 100);
            return Query { v4: true, group: some(group.into()), patience, old }.checked();
        }
        if *message.first()? != QUERY6 || !is_link_local(packet.src) || !has_alert(packet) {
            return None;
        }
        let code = u16_at(message, 4)?;
        let group = Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?);
        let old = message.len() < 28;
        let millis = match code {
            _ if old || code < 0x8000 => u64::from(code),
            _ => (u64::from(code & 0xfff) | 0x1000) << ((code >> 12 & 7) + 3),
        };
        Query { v4: false, group: some(group.into()), patience: Duration::from_millis(millis), old }.checked()
    }

    fn checked(self) -> Option<Query> {
        self.group.is_none_or(|group| group.is_multicast()).then_some(self)
    }
}

/// Whether a packet of IPv6 begins with options that have routers look at it for the sake of MLD.
fn has_alert(packet: &Packet<'_>) -> bool {
    let Some([next, ..]) = packet.bytes.get(6..IPV6_LEN) else { return false };
    let Some(options) = packet.bytes.get(IPV6_LEN..).filter(|_| i32::from(*next) == libc::IPPROTO_HOPOPTS) else {
        return false;
    };
    let len = (usize::from(options.get(1).copied().unwrap_or(0)) + 1) * 8;
    let mut rest = options.get(2..len).unwrap_or_default();
    loop {
        rest = match rest {
            [5, 2, 0, 0, ..] => return true,
            [0, rest @ ..] => rest,
            [_, len, rest @ ..] => rest.get(usize::from(*len)..).unwrap_or_default(),
            _ => return false,
        };
    }
}

fn some(group: IpAddr) -> Option<IpAddr> {
    Some(group).filter(|group| !group.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(all: &[&str]) -> BTreeSet<IpAddr> {
        all.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn changes_are_told_as_the_standard_says() {
        let group = "239.1.2.3".parse().unwrap();
        let (only, except) = (|all: &[&str]| Sources::Only(set(all)), |all: &[&str]| Sources::Except(set(all)));
        let kinds = |a: &Sources, b: &Sources| -> Vec<_> {
            Record::changes(group, a, b).into_iter().map(|record| (record.kind, record.sources)).collect()
        };
        assert_eq!(kinds(&only(&[]), &except(&[])), [(Kind::ToExcept, set(&[]))]);
        assert_eq!(kinds(&except(&["10.0.0.1"]), &only(&[])), [(Kind::ToOnly, set(&[]))]);
        assert_eq!(kinds(&only(&[]), &only(&["10.0.0.1"])), [(Kind::Allow, set(&["10.0.0.1"]))]);
        let both = kinds(&only(&["10.0.0.1"]), &only(&["10.0.0.2"]));
        assert_eq!(both, [(Kind::Allow, set(&["10.0.0.2"])), (Kind::Block, set(&["10.0.0.1"]))]);
        assert_eq!(kinds(&except(&["10.0.0.1"]), &except(&[])), [(Kind::Allow, set(&["10.0.0.1"]))]);
    }

    #[test]
    fn queries_are_read_and_anything_may_come() {
        let mut message = vec![QUERY, 0x8f, 0, 0, 239, 1, 2, 3, 0, 0, 0, 0];
        let checksum = !fold(sum(&message, 0));
        fill(&mut message, 2, checksum);
        let (src, dst) = ("10.0.0.1".parse().unwrap(), "224.0.0.1".parse().unwrap());
        let frame = Head { src, dst, protocol: IGMP, hops: 1, class: 0 }.frame(&message, None);
        let query = Query::parse(&Packet::parse(frame.get(HEADROOM..).unwrap()).unwrap()).unwrap();
        assert_eq!((query.group, query.old), (Some("239.1.2.3".parse().unwrap()), false));
        assert_eq!(query.patience, Duration::from_millis(((0xf | 0x10) << 3) * 100));
        let mut state = u64::from(stack::random()) | 1;
        for round in 0..100_000usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let v4 = round % 2 == 0;
            let mut bytes = vec![0u8; round % 60];
            bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (state >> (at % 8 * 8)) as u8);
            if let Some(first) = bytes.first_mut() {
                *first = if v4 { QUERY } else { QUERY6 };
            }
            if v4 && bytes.len() >= 4 {
                fill(&mut bytes, 2, 0);
                let checksum = !fold(sum(&bytes, 0));
                fill(&mut bytes, 2, checksum);
            }
            let (src, dst) = if v4 { ("10.0.0.1", "224.0.0.1") } else { ("fe80::1", "ff02::1") };
            let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
            let head = Head { src, dst, protocol: if v4 { IGMP } else { ICMPV6 }, hops: 1, class: 0 };
            let frame = head.frame(&bytes, None);
            if let Some(packet) = frame.get(HEADROOM..).and_then(Packet::parse) {
                let _ = Query::parse(&packet);
            }
        }
    }
}
