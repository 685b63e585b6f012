//! Routes: those that follow from addresses, and those that the engine set.

use super::super::message::{Reply, Request, attributes};
use super::{family_of, octets, parse_ip};
use crate::errno::{Errno, SysResult};
use crate::net::devices::{self, Device};
use crate::net::stack::{self, link::Link, route as routing};
use std::net::{IpAddr, Ipv4Addr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Index of the loopback interface.
const INDEX: i32 = 1;
/// `RT_SCOPE_HOST` and `RT_SCOPE_LINK`.
const SCOPE_HOST: u8 = 254;
const SCOPE_LINK: u8 = 253;

/// `struct rtmsg`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Rtmsg {
    pub(super) family: u8,
    pub(super) dst_len: u8,
    src_len: u8,
    tos: u8,
    pub(super) table: u8,
    protocol: u8,
    scope: u8,
    pub(super) kind: u8,
    flags: u32,
}

/// The interfaces of the stack.
fn interfaces() -> impl Iterator<Item = &'static Link> {
    stack::get().into_iter().flat_map(|stack| stack.links())
}

pub(super) fn get(request: &Request<'_>, dump: bool, reply: &mut Reply) -> SysResult<()> {
    let (asked, _) = Rtmsg::read_from_prefix(request.payload).unwrap_or((Rtmsg::default(), &[]));
    if dump {
        // `ip` leaves out the tables that it was not asked for.
        local_routes(reply, asked.family);
        main_routes(reply, asked.family);
        return Ok(());
    }
    let mut destinations = attributes(request.payload, size_of::<Rtmsg>()).filter(|(kind, _)| *kind == libc::RTA_DST);
    let (_, to) = destinations.next().ok_or(Errno::INVAL)?;
    let to = parse_ip(to)?;
    let interface = if to.is_loopback() { Some(INDEX as u32) } else { devices::owner(to) };
    let own = |stack: &&stack::Stack| stack.link_of(to).map(|link| link.index);
    let interface = interface.or_else(|| stack::get().as_ref().and_then(own));
    if interface.is_some() {
        // Whichever interface has it, packets to it go over the loopback one.
        let source = if to.is_loopback() && to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { to };
        found(reply, to, (libc::RTN_LOCAL, libc::RT_TABLE_MAIN), None, Some(source), INDEX as u32);
        return Ok(());
    }
    let stack = stack::get().ok_or(Errno::NETUNREACH)?;
    let hop = stack.route(to)?;
    let gateway = Some(hop.via).filter(|via| *via != to);
    found(reply, to, (libc::RTN_UNICAST, libc::RT_TABLE_MAIN), gateway, Some(hop.source), hop.interface);
    Ok(())
}

/// The way to one address.
fn found(
    reply: &mut Reply,
    to: IpAddr,
    (kind, table): (u8, u8),
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    interface: u32,
) {
    /// `RTM_F_CLONED`: what the routes say of one destination; and `RTCF_LOCAL`.
    const CLONED: u32 = 0x200;
    const LOCAL: u32 = 0x8000_0000;
    const RTA_UID: u16 = 25;
    let local = if kind == libc::RTN_LOCAL && to.is_ipv4() { LOCAL } else { 0 };
    let dst_len = if to.is_ipv4() { 32 } else { 128 };
    let route = Rtmsg { family: family_of(to), dst_len, table, kind, flags: CLONED | local, ..Rtmsg::default() };
    reply.message(libc::RTM_NEWROUTE, route.as_bytes(), |reply| {
        reply.attribute(libc::RTA_TABLE, &u32::from(table).to_ne_bytes());
        reply.attribute(libc::RTA_DST, &octets(to));
        reply.attribute(libc::RTA_OIF, &interface.to_ne_bytes());
        if let Some(source) = source {
            reply.attribute(libc::RTA_PREFSRC, &octets(source));
        }
        if let Some(gateway) = gateway {
            reply.attribute(libc::RTA_GATEWAY, &octets(gateway));
        }
        reply.attribute(RTA_UID, &0u32.to_ne_bytes());
        reply.attribute(libc::RTA_CACHEINFO, &[0; 32]);
    });
}

/// Routes of the local table, of all own addresses.
fn local_routes(reply: &mut Reply, family: u8) {
    let links = interfaces().map(|link| (link.index, link.addresses.clone()));
    let devices = devices::all().into_iter().filter(|device| device.up);
    let all: Vec<_> = devices.map(|device: Device| (device.index, device.addresses)).chain(links).collect();
    for (index, addresses) in all {
        for (ip, prefix) in addresses.into_iter().filter(|(ip, _)| family == 0 || family == family_of(*ip)) {
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            if index == INDEX as u32 && prefix < longest {
                local_route(reply, (routing::network(ip, prefix), prefix), ip, index);
            }
            local_route(reply, (ip, longest), ip, index);
            if let Some(all) = routing::broadcast((ip, prefix)).filter(|_| prefix < 31) {
                broadcast_route(reply, all, ip, index);
            }
        }
    }
}

/// Routes of the main table: those that follow from addresses, and those that the engine set.
fn main_routes(reply: &mut Reply, family: u8) {
    let is_asked = |ip: IpAddr| family == 0 || family == family_of(ip);
    for link in interfaces() {
        for (ip, prefix) in link.addresses.iter().filter(|(ip, _)| is_asked(*ip)) {
            let network = (routing::network(*ip, *prefix), *prefix);
            main_route(reply, network, None, Some(*ip), (link.index, metric_of(*ip)), libc::RTPROT_KERNEL);
        }
    }
    for device in devices::all().iter().filter(|device| device.up && !device.is_loopback()) {
        for (ip, prefix) in device.addresses.iter().filter(|(ip, prefix)| is_asked(*ip) && *prefix < 32) {
            let network = (routing::network(*ip, *prefix), *prefix);
            main_route(reply, network, None, Some(*ip), (device.index, metric_of(*ip)), libc::RTPROT_KERNEL);
        }
    }
    let set = stack::get().map(|stack| stack.routes()).unwrap_or_default();
    for route in set.iter().filter(|route| is_asked(route.destination)) {
        let to = (route.destination, route.prefix);
        main_route(reply, to, route.gateway, route.source, (route.interface, route.metric), libc::RTPROT_BOOT);
    }
}

/// The metric of routes that follow from addresses (`IP6_RT_PRIO_ADDRCONF`).
fn metric_of(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { 0 } else { 256 }
}

/// `TO via GATEWAY dev INTERFACE src SOURCE metric METRIC`.
fn main_route(
    reply: &mut Reply,
    (to, prefix): routing::Address,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    (interface, metric): (u32, u32),
    protocol: u8,
) {
    let scope = if gateway.is_some() { 0 } else { SCOPE_LINK };
    let route = Rtmsg {
        family: family_of(to),
        dst_len: prefix,
        table: libc::RT_TABLE_MAIN,
        protocol,
        scope: if to.is_ipv4() { scope } else { 0 },
        kind: libc::RTN_UNICAST,
        ..Rtmsg::default()
    };
    reply.message(libc::RTM_NEWROUTE, route.as_bytes(), |reply| {
        reply.attribute(libc::RTA_TABLE, &u32::from(libc::RT_TABLE_MAIN).to_ne_bytes());
        if prefix > 0 {
            reply.attribute(libc::RTA_DST, &octets(to));
        }
        if let Some(gateway) = gateway {
            reply.attribute(libc::RTA_GATEWAY, &octets(gateway));
        }
        if let Some(source) = source.filter(|_| to.is_ipv4()) {
            reply.attribute(libc::RTA_PREFSRC, &octets(source));
        }
        if metric > 0 {
            reply.attribute(libc::RTA_PRIORITY, &metric.to_ne_bytes());
        }
        reply.attribute(libc::RTA_OIF, &interface.to_ne_bytes());
        if !to.is_ipv4() {
            /// `RTA_PREF`: `ICMPV6_ROUTER_PREF_MEDIUM`.
            const RTA_PREF: u16 = 20;
            reply.attribute(RTA_PREF, &[0]);
        }
    });
}

/// `local TO/PREFIX dev INTERFACE src SOURCE` in the local table.
fn local_route(reply: &mut Reply, (to, prefix): routing::Address, source: IpAddr, interface: u32) {
    // IPv6 knows no scopes of routes.
    let scope = if to.is_ipv4() { SCOPE_HOST } else { 0 };
    in_local_table(reply, (to, prefix), (libc::RTN_LOCAL, scope), source, interface);
}

/// `broadcast TO dev INTERFACE src SOURCE` in the local table.
fn broadcast_route(reply: &mut Reply, to: IpAddr, source: IpAddr, interface: u32) {
    in_local_table(reply, (to, 32), (libc::RTN_BROADCAST, SCOPE_LINK), source, interface);
}

fn in_local_table(
    reply: &mut Reply,
    (to, prefix): routing::Address,
    (kind, scope): (u8, u8),
    source: IpAddr,
    interface: u32,
) {
    let route = Rtmsg {
        family: family_of(to),
        dst_len: prefix,
        table: libc::RT_TABLE_LOCAL,
        protocol: libc::RTPROT_KERNEL,
        scope,
        kind,
        ..Rtmsg::default()
    };
    reply.message(libc::RTM_NEWROUTE, route.as_bytes(), |reply| {
        reply.attribute(libc::RTA_TABLE, &u32::from(libc::RT_TABLE_LOCAL).to_ne_bytes());
        reply.attribute(libc::RTA_DST, &octets(to));
        if to.is_ipv4() {
            reply.attribute(libc::RTA_PREFSRC, &octets(source));
        } else {
            reply.attribute(libc::RTA_PRIORITY, &0u32.to_ne_bytes());
        }
        reply.attribute(libc::RTA_OIF, &interface.to_ne_bytes());
    });
}
