//! Interfaces, as they are shown.

use super::super::message::{Failure, Reply, Request, attribute_bytes, attributes};
use super::strict::FILTERED;
use super::{Answer, number, text};
use crate::errno::{Errno, SysResult};
use crate::net::layout::Layout;
use crate::net::namespace::Net;
use crate::net::stack::link::{BROADCAST, Kind, Link, NAME_MAX, flag};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const IFLA_CARRIER: u16 = 33;
pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
pub(super) const IFLA_MASTER: u16 = 10;
const IFLA_STATS: u16 = 7;
const IFLA_STATS64: u16 = 23;
const IFLA_LINK: u16 = 5;
const IFLA_LINK_NETNSID: u16 = 37;
pub(super) const IFLA_IFALIAS: u16 = 20;
const IFLA_ALT_IFNAME: u16 = 53;
/// `IF_OPER_UNKNOWN`, `IF_OPER_DOWN`, `IF_OPER_LOWERLAYERDOWN`, `IF_OPER_UP`.
const UNKNOWN: u8 = 0;
const DOWN: u8 = 2;
const LOWERLAYERDOWN: u8 = 3;
const UP: u8 = 6;

/// `IFLA_BR_…`.
pub(super) mod br {
    use super::attribute_bytes;
    use crate::net::bridge::Bridge;
    use crate::net::stack::link::Link;

    pub(in super::super) const FORWARD_DELAY: u16 = 1;
    pub(in super::super) const HELLO_TIME: u16 = 2;
    pub(in super::super) const MAX_AGE: u16 = 3;
    pub(in super::super) const AGEING_TIME: u16 = 4;
    const STP_STATE: u16 = 5;
    pub(in super::super) const PRIORITY: u16 = 6;
    const VLAN_FILTERING: u16 = 7;
    pub(in super::super) const VLAN_PROTOCOL: u16 = 8;
    const ROOT_ID: u16 = 10;
    const BRIDGE_ID: u16 = 11;
    const ROOT_PORT: u16 = 12;
    const ROOT_PATH_COST: u16 = 13;
    pub(in super::super) const MCAST_SNOOPING: u16 = 23;
    pub(in super::super) const VLAN_DEFAULT_PVID: u16 = 39;
    /// What there would be with a spanning tree, in hundredths of seconds; and a priority that says nothing.
    const TIMES: [(u16, u32); 3] = [(FORWARD_DELAY, 1500), (HELLO_TIME, 200), (MAX_AGE, 2000)];
    const USUAL: u16 = 0x8000;

    /// What is told of a bridge.
    pub(super) fn told(bridge: &Bridge, link: &Link) -> Vec<u8> {
        let ageing = (bridge.ageing().as_millis() / 10) as u32;
        let mac = if bridge.was_used() { link.mac } else { [0; 6] };
        let id = [USUAL.to_be_bytes().as_slice(), &mac].concat();
        let numbers = TIMES.into_iter().chain([(AGEING_TIME, ageing), (STP_STATE, 0), (ROOT_PATH_COST, 0)]);
        let mut told: Vec<u8> = numbers.flat_map(|(kind, value)| attribute_bytes(kind, &value.to_ne_bytes())).collect();
        let short = [(PRIORITY, USUAL), (VLAN_PROTOCOL, (libc::ETH_P_8021Q as u16).to_be()), (ROOT_PORT, 0)];
        told.extend(short.into_iter().flat_map(|(kind, value)| attribute_bytes(kind, &value.to_ne_bytes())));
        told.extend([ROOT_ID, BRIDGE_ID].into_iter().flat_map(|kind| attribute_bytes(kind, &id)));
        told.extend([VLAN_FILTERING, MCAST_SNOOPING].into_iter().flat_map(|kind| attribute_bytes(kind, &[0])));
        told
    }
}

/// Kinds of interfaces that there are.
const KINDS: [&str; 3] = ["bridge", "dummy", "veth"];

/// `struct ifinfomsg`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Ifinfomsg {
    family: u8,
    pad: u8,
    kind: u16,
    pub(super) index: i32,
    pub(super) flags: u32,
    pub(super) change: u32,
}

/// What is behind an interface, as far as it tells by itself whether it works.
fn state(net: &Net, link: &Link) -> u8 {
    // It is said to be another's fault if the other is found, by its index, to be without carrier itself.
    let is_others = |other: &Arc<Link>| other.index != link.index && !other.device.has_carrier();
    let lower = || link.device.peer().and_then(|peer| peer.place()).map_or(0, |(_, peer)| peer.index);
    match &link.device.kind {
        _ if !link.up => DOWN,
        Kind::Loopback | Kind::Dummy => UNKNOWN,
        Kind::Bridge(bridge) if !bridge.was_used() => UNKNOWN,
        _ if link.device.has_carrier() => UP,
        _ if net.layout().link(lower()).is_some_and(is_others) => LOWERLAYERDOWN,
        _ => DOWN,
    }
}

/// Writes a message about an interface.
pub(in super::super) fn write(net: &Net, kind: u16, reply: &mut Reply, link: &Link) {
    let hardware = if link.is_loopback() { libc::ARPHRD_LOOPBACK } else { libc::ARPHRD_ETHER };
    let flags = link.all_flags();
    let info = Ifinfomsg { family: 0, pad: 0, kind: hardware, index: link.index as i32, flags, change: 0 };
    reply.message(kind, info.as_bytes(), |reply| write_attributes(net, reply, link, flags));
}

fn write_attributes(net: &Net, reply: &mut Reply, link: &Link, flags: u32) {
    let string = |text: &str| [text.as_bytes(), b"\0"].concat();
    let all = if link.is_loopback() { [0; 6] } else { BROADCAST };
    reply.attribute(libc::IFLA_IFNAME, &string(&link.name));
    reply.attribute(libc::IFLA_TXQLEN, &link.txqlen.to_ne_bytes());
    reply.attribute(libc::IFLA_OPERSTATE, &[state(net, link)]);
    reply.attribute(libc::IFLA_LINKMODE, &[0]);
    reply.attribute(libc::IFLA_MTU, &(link.mtu as u32).to_ne_bytes());
    reply.attribute(libc::IFLA_GROUP, &link.group.to_ne_bytes());
    reply.attribute(libc::IFLA_PROMISCUITY, &u32::from(flags & flag::PROMISC != 0).to_ne_bytes());
    reply.attribute(libc::IFLA_NUM_TX_QUEUES, &1u32.to_ne_bytes());
    reply.attribute(libc::IFLA_NUM_RX_QUEUES, &1u32.to_ne_bytes());
    if !link.alias.is_empty() {
        reply.attribute(IFLA_IFALIAS, &string(&link.alias));
    }
    reply.attribute(IFLA_CARRIER, &[u8::from(flags & flag::LOWER_UP != 0)]);
    let qdisc = if link.device.was_up() || link.is_loopback() { "noqueue" } else { "noop" };
    reply.attribute(libc::IFLA_QDISC, &string(qdisc));
    reply.attribute(libc::IFLA_ADDRESS, &link.mac);
    reply.attribute(libc::IFLA_BROADCAST, &all);
    let passed = link.passed(net);
    // `struct rtnl_link_stats64`: packets and bytes each way, errors, losses.
    let mut stats = [0u64; 24];
    let told = [
        passed.rx_packets,
        passed.tx_packets,
        passed.rx_bytes,
        passed.tx_bytes,
        0,
        0,
        passed.rx_dropped,
        passed.tx_dropped,
    ];
    stats.iter_mut().zip(told).for_each(|(place, value)| *place = value);
    reply.attribute(IFLA_STATS64, stats.as_bytes());
    reply.attribute(IFLA_STATS, stats.map(|value| value as u32).as_bytes());
    write_peer(net, reply, link);
    if link.master != 0 {
        reply.attribute(IFLA_MASTER, &link.master.to_ne_bytes());
    }
    let mut info = link.device.kind.name().map_or(Vec::new(), |kind| attribute_bytes(IFLA_INFO_KIND, &string(kind)));
    if let Kind::Bridge(bridge) = &link.device.kind {
        info.extend(attribute_bytes(IFLA_INFO_DATA, &br::told(bridge, link)));
    }
    if link.master != 0 {
        info.extend(attribute_bytes(IFLA_INFO_SLAVE_KIND, b"bridge\0"));
    }
    if !info.is_empty() {
        reply.attribute(libc::IFLA_LINKINFO, &info);
    }
}

/// The other end of a pair: its index, and its namespace if that is another one.
fn write_peer(net: &Net, reply: &mut Reply, link: &Link) {
    let Some((home, peer)) = link.device.peer().and_then(|peer| peer.place()) else { return };
    reply.attribute(IFLA_LINK, &peer.index.to_ne_bytes());
    if !std::ptr::eq(&*home, net)
        && let Some(number) = net.number_of(&home, true)
    {
        reply.attribute(IFLA_LINK_NETNSID, &number.to_ne_bytes());
    }
}

/// What a message says of which interface it is about.
pub(super) struct Asked<'a> {
    pub(super) info: Ifinfomsg,
    pub(super) name: Option<&'a str>,
}

pub(super) fn parse<'a>(request: &Request<'a>) -> Result<Asked<'a>, Failure> {
    let (info, _) = Ifinfomsg::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
    let mut name = None;
    for (kind, content) in attributes(request.payload, size_of::<Ifinfomsg>()) {
        if matches!(kind, libc::IFLA_IFNAME | IFLA_ALT_IFNAME) {
            name = Some(name_of(content, kind == libc::IFLA_IFNAME)?).filter(|name| !name.is_empty());
        }
    }
    Ok(Asked { info, name })
}

/// The name in an attribute; `ERANGE` if it is too long.
pub(super) fn name_of(content: &[u8], is_first: bool) -> Result<&str, Failure> {
    let name = text(content)?;
    if name.len() >= NAME_MAX && is_first {
        return Err(Failure::because(Errno::from_raw(libc::ERANGE), "Attribute failed policy validation"));
    }
    Ok(name)
}

impl Asked<'_> {
    pub(super) fn find(&self, layout: &Layout) -> SysResult<Arc<Link>> {
        let index = self.info.index as u32;
        let found = match self.name {
            _ if index > 0 => layout.link(index),
            Some(name) => layout.link_named(name.as_bytes()),
            None => return Err(Errno::INVAL),
        };
        found.cloned().ok_or(Errno::NODEV)
    }
}

pub(super) fn get(net: &Net, request: &Request<'_>, dump: bool, reply: &mut Reply) -> Answer {
    let layout = net.layout();
    if dump {
        let (kind, master) = (wanted_kind(request), wanted_master(request)?);
        if kind.is_some() || master != 0 {
            reply.mark(FILTERED);
        }
        let is_asked = |link: &&Arc<Link>| {
            kind.is_none_or(|kind| link.device.kind.name() == Some(kind)) && (master == 0 || link.master == master)
        };
        layout.links().iter().filter(is_asked).for_each(|link| write(net, libc::RTM_NEWLINK, reply, link));
        return Ok(());
    }
    let link = parse(request)?.find(&layout)?;
    write(net, libc::RTM_NEWLINK, reply, &link);
    Ok(())
}

/// The bridge whose ports a dump is to be of (`ip link show master br0`): 0 for all.
fn wanted_master(request: &Request<'_>) -> SysResult<u32> {
    let mut all = attributes(request.payload, size_of::<Ifinfomsg>());
    all.find(|(kind, _)| *kind == IFLA_MASTER).map_or(Ok(0), |(_, index)| number(index))
}

/// The kind that a dump is to be of (`ip link show type veth`), if there is such a kind.
fn wanted_kind<'a>(request: &Request<'a>) -> Option<&'a str> {
    let mut all = attributes(request.payload, size_of::<Ifinfomsg>());
    let (_, info) = all.find(|(kind, _)| *kind == libc::IFLA_LINKINFO)?;
    let (_, kind) = attributes(info, 0).find(|(kind, _)| *kind == IFLA_INFO_KIND)?;
    text(kind).ok().filter(|kind| KINDS.contains(kind))
}
