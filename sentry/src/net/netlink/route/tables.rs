//! Rules and neighbours, as they are shown.

use super::super::message::{Reply, Request, attributes};
use super::strict::FILTERED;
use super::{Answer, family_of, number, octets};
use crate::errno::Errno;
use crate::net::namespace::Net;
use crate::net::stack::link::{Link, Mac};
use crate::net::stack::route::Address;
use crate::net::stack::rule::{Action, Rule};
use std::net::IpAddr;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub(in super::super) const RTM_NEWRULE: u16 = 32;
pub(in super::super) const RTM_DELRULE: u16 = 33;
const RTM_NEWNEIGH: u16 = 28;

/// `FRA_…`.
pub(super) mod fra {
    pub(in super::super) const DST: u16 = 1;
    pub(in super::super) const SRC: u16 = 2;
    pub(in super::super) const IIFNAME: u16 = 3;
    pub(in super::super) const PRIORITY: u16 = 6;
    pub(in super::super) const FWMARK: u16 = 10;
    pub(in super::super) const SUPPRESS_PREFIXLEN: u16 = 14;
    pub(in super::super) const TABLE: u16 = 15;
    pub(in super::super) const FWMASK: u16 = 16;
    pub(in super::super) const OIFNAME: u16 = 17;
    pub(in super::super) const PROTOCOL: u16 = 21;
}

/// `FR_ACT_…`.
pub(super) mod act {
    pub(in super::super) const TO_TABLE: u8 = 1;
    pub(in super::super) const NOTHING: u8 = 3;
    pub(in super::super) const BLACKHOLE: u8 = 6;
    pub(in super::super) const UNREACHABLE: u8 = 7;
    pub(in super::super) const PROHIBIT: u8 = 8;
}

/// `FIB_RULE_INVERT`.
pub(super) const INVERT: u32 = 2;
/// `RT_TABLE_COMPAT`.
const COMPAT: u8 = 252;
pub(super) const NDA_DST: u16 = 1;
pub(super) const NDA_LLADDR: u16 = 2;
const NDA_IFINDEX: u16 = 8;
const NDA_MASTER: u16 = 9;
/// `NUD_REACHABLE`, `NUD_PERMANENT`.
const REACHABLE: u16 = 2;
pub(super) const PERMANENT: u16 = 0x80;

/// `struct fib_rule_hdr`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct RuleHeader {
    pub(super) family: u8,
    pub(super) dst_len: u8,
    pub(super) src_len: u8,
    pub(super) tos: u8,
    pub(super) table: u8,
    pad: [u8; 2],
    pub(super) action: u8,
    pub(super) flags: u32,
}

/// `ip rule`.
pub(super) fn rules(net: &Net, request: &Request<'_>, reply: &mut Reply) -> Answer {
    let asked = i32::from(request.payload.first().copied().unwrap_or(0));
    if !matches!(asked, libc::AF_UNSPEC | libc::AF_INET | libc::AF_INET6) {
        return Err(Errno::AFNOSUPPORT.into());
    }
    let layout = net.layout();
    for (family, v4) in [(libc::AF_INET, true), (libc::AF_INET6, false)] {
        let all = layout.rules().iter().filter(|rule| rule.v4 == v4 && (asked == 0 || asked == family));
        all.for_each(|rule| write_rule(RTM_NEWRULE, reply, rule));
    }
    Ok(())
}

/// Writes a message about a rule.
pub(in super::super) fn write_rule(kind: u16, reply: &mut Reply, rule: &Rule) {
    let (action, table) = match rule.action {
        Action::Table(table) => (act::TO_TABLE, table),
        Action::Nothing => (act::NOTHING, 0),
        Action::Fail(Errno::ACCES) => (act::PROHIBIT, 0),
        Action::Fail(Errno::NETUNREACH) => (act::UNREACHABLE, 0),
        Action::Fail(_) => (act::BLACKHOLE, 0),
    };
    let len = |network: Option<Address>| network.map_or(0, |(_, prefix)| prefix);
    let fixed = RuleHeader {
        family: if rule.v4 { libc::AF_INET } else { libc::AF_INET6 } as u8,
        dst_len: len(rule.to),
        src_len: len(rule.from),
        table: u8::try_from(table).unwrap_or(COMPAT),
        action,
        flags: if rule.inverted { INVERT } else { 0 },
        ..RuleHeader::default()
    };
    let string = |text: &str| [text.as_bytes(), b"\0"].concat();
    reply.message(kind, fixed.as_bytes(), |reply| {
        reply.attribute(fra::TABLE, &table.to_ne_bytes());
        reply.attribute(fra::SUPPRESS_PREFIXLEN, &rule.suppress.unwrap_or(u32::MAX).to_ne_bytes());
        if rule.priority > 0 {
            reply.attribute(fra::PRIORITY, &rule.priority.to_ne_bytes());
        }
        reply.attribute(fra::PROTOCOL, &[rule.protocol]);
        if let Some((mark, mask)) = rule.mark {
            reply.attribute(fra::FWMARK, &mark.to_ne_bytes());
            reply.attribute(fra::FWMASK, &mask.to_ne_bytes());
        }
        if let Some(name) = &rule.iif {
            reply.attribute(fra::IIFNAME, &string(name));
        }
        if let Some(name) = &rule.oif {
            reply.attribute(fra::OIFNAME, &string(name));
        }
        for (kind, network) in [(fra::DST, rule.to), (fra::SRC, rule.from)] {
            if let Some((ip, _)) = network.filter(|(_, prefix)| *prefix > 0) {
                reply.attribute(kind, &octets(ip));
            }
        }
    });
}

/// `struct ndmsg`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Ndmsg {
    pub(super) family: u8,
    pad: [u8; 3],
    pub(super) index: u32,
    pub(super) state: u16,
    flags: u8,
    kind: u8,
}

/// `ip neigh`.
pub(super) fn neighbours(net: &Net, request: &Request<'_>, reply: &mut Reply) -> Answer {
    let asked = request.payload.first().copied().unwrap_or(0);
    let (mut index, mut master) = (0, 0);
    for (kind, content) in attributes(request.payload, size_of::<Ndmsg>()) {
        match kind {
            NDA_IFINDEX => index = number(content)?,
            NDA_MASTER => master = number(content)?,
            _ => {}
        }
    }
    if (index, master) != (0, 0) {
        reply.mark(FILTERED);
    }
    let is_asked = |link: &&Arc<Link>| (index == 0 || link.index == index) && (master == 0 || link.master == master);
    for link in net.layout().links().iter().filter(is_asked) {
        let known = link.device.neighbours.lock().list();
        for entry in known.into_iter().filter(|(ip, _, _)| asked == 0 || asked == family_of(*ip)) {
            write_neighbour(RTM_NEWNEIGH, reply, &Neighbour::new(link.index, entry));
        }
    }
    Ok(())
}

/// A neighbour, as it is told of.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Neighbour {
    pub(super) index: u32,
    pub(super) ip: IpAddr,
    pub(super) mac: Option<Mac>,
    /// `NUD_…`.
    pub(super) state: u16,
}

impl Neighbour {
    /// Of its address, its hardware address, and whether it stays.
    pub(super) fn new(index: u32, (ip, mac, permanent): (IpAddr, Mac, bool)) -> Neighbour {
        Neighbour { index, ip, mac: Some(mac), state: if permanent { PERMANENT } else { REACHABLE } }
    }
}

/// Writes a message about a neighbour.
pub(in super::super) fn write_neighbour(kind: u16, reply: &mut Reply, neighbour: &Neighbour) {
    let Neighbour { index, ip, mac, state } = *neighbour;
    let fixed = Ndmsg { family: family_of(ip), pad: [0; 3], index, state, flags: 0, kind: libc::RTN_UNICAST };
    reply.message(kind, fixed.as_bytes(), |reply| {
        reply.attribute(NDA_DST, &octets(ip));
        if let Some(mac) = mac {
            reply.attribute(NDA_LLADDR, &mac);
        }
    });
}
