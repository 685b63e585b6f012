//! What `rtnetlink(7)` says of the sandbox's interfaces: the loopback one, and those of the stack.

use super::message::{Reply, Request, attributes};
use crate::errno::{Errno, SysResult};
use crate::net::stack::{self, link::Link, route as routing};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Index of the loopback interface.
const INDEX: i32 = 1;
/// Hardware type of the loopback interface (`ARPHRD_LOOPBACK`).
const ARPHRD_LOOPBACK: u16 = 772;
/// `IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP`.
const FLAGS: u32 = 0x10049;
const MTU: u32 = 65536;
/// `RT_SCOPE_HOST`.
const SCOPE_HOST: u8 = 254;
/// `RT_SCOPE_LINK`.
const SCOPE_LINK: u8 = 253;
/// `IFA_F_PERMANENT`.
const PERMANENT: u32 = 0x80;
const IFA_FLAGS: u16 = 8;
const IFLA_CARRIER: u16 = 33;

/// `struct ifinfomsg`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ifinfomsg {
    family: u8,
    pad: u8,
    kind: u16,
    index: i32,
    flags: u32,
    change: u32,
}

/// `struct rtmsg`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Rtmsg {
    family: u8,
    dst_len: u8,
    src_len: u8,
    tos: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
}

/// Answers a request of the socket `pid`. `None` if there is nothing to say.
pub(super) fn answer(request: &Request<'_>, pid: u32, is_admin: bool) -> Option<Vec<u8>> {
    if !request.has(libc::NLM_F_REQUEST) {
        return None;
    }
    let dump = request.has(libc::NLM_F_DUMP);
    let mut reply = Reply::new(&request.header, pid, dump);
    let answered = fill(request, dump, is_admin, &mut reply);
    match answered {
        Err(error) => {
            let mut reply = Reply::new(&request.header, pid, false);
            reply.error(request, Some(error));
            return Some(reply.into_bytes());
        }
        Ok(()) if dump => reply.done(),
        Ok(()) if request.has(libc::NLM_F_ACK) => reply.error(request, None),
        Ok(()) => {}
    }
    Some(reply.into_bytes()).filter(|bytes| !bytes.is_empty())
}

fn fill(request: &Request<'_>, dump: bool, is_admin: bool, reply: &mut Reply) -> SysResult<()> {
    /// The lowest type that is not about netlink itself (`NLMSG_MIN_TYPE`, `RTM_BASE`).
    const BASE: u16 = 16;
    /// The highest type (`RTM_MAX` of Linux 6.18).
    const MAX: u16 = 123;
    let kind = request.header.kind;
    // Of four types in a row the third asks (`RTM_GET…`), the others change.
    let asks = kind % 4 == 2;
    match kind {
        ..BASE => Ok(()),
        libc::RTM_GETLINK => links(request, dump, reply),
        libc::RTM_GETADDR => addresses(request, dump, reply),
        libc::RTM_GETROUTE => routes(request, dump, reply),
        BASE..=MAX if asks && dump => Ok(()),
        BASE..=MAX if !asks && !is_admin => Err(Errno::PERM),
        _ => Err(Errno::OPNOTSUPP),
    }
}

fn links(request: &Request<'_>, dump: bool, reply: &mut Reply) -> SysResult<()> {
    if !dump {
        let (asked, _) = Ifinfomsg::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
        let mut names =
            attributes(request.payload, size_of::<Ifinfomsg>()).filter(|(kind, _)| *kind == libc::IFLA_IFNAME);
        let by_name = names.any(|(_, name)| name.strip_suffix(&[0]).unwrap_or(name) == b"lo");
        if asked.index != INDEX && !(asked.index == 0 && by_name) {
            let name = attributes(request.payload, size_of::<Ifinfomsg>()).find(|(kind, _)| *kind == libc::IFLA_IFNAME);
            let name = name.map(|(_, name)| name.strip_suffix(&[0]).unwrap_or(name));
            let is_asked = |link: &&Link| {
                asked.index as u32 == link.index || (asked.index == 0 && name == Some(link.name.as_bytes()))
            };
            link(reply, interfaces().find(is_asked).ok_or(Errno::NODEV)?);
            return Ok(());
        }
    }
    let info = Ifinfomsg { family: 0, pad: 0, kind: ARPHRD_LOOPBACK, index: INDEX, flags: FLAGS, change: 0 };
    reply.message(libc::RTM_NEWLINK, info.as_bytes(), |reply| {
        reply.attribute(libc::IFLA_IFNAME, b"lo\0");
        reply.attribute(libc::IFLA_TXQLEN, &1000u32.to_ne_bytes());
        reply.attribute(libc::IFLA_OPERSTATE, &[0]);
        reply.attribute(libc::IFLA_LINKMODE, &[0]);
        reply.attribute(libc::IFLA_MTU, &MTU.to_ne_bytes());
        reply.attribute(libc::IFLA_GROUP, &0u32.to_ne_bytes());
        reply.attribute(libc::IFLA_PROMISCUITY, &0u32.to_ne_bytes());
        reply.attribute(libc::IFLA_NUM_TX_QUEUES, &1u32.to_ne_bytes());
        reply.attribute(libc::IFLA_NUM_RX_QUEUES, &1u32.to_ne_bytes());
        reply.attribute(IFLA_CARRIER, &[1]);
        reply.attribute(libc::IFLA_QDISC, b"noqueue\0");
        reply.attribute(libc::IFLA_ADDRESS, &[0; 6]);
        reply.attribute(libc::IFLA_BROADCAST, &[0; 6]);
    });
    if dump {
        interfaces().for_each(|interface| link(reply, interface));
    }
    Ok(())
}

/// The interfaces of the stack.
fn interfaces() -> impl Iterator<Item = &'static Link> {
    stack::get().into_iter().flat_map(|stack| stack.links())
}

fn link(reply: &mut Reply, link: &Link) {
    /// `IFF_UP | IFF_BROADCAST | IFF_RUNNING | IFF_MULTICAST | IFF_LOWER_UP`.
    const FLAGS: u32 = 0x11043;
    /// `IF_OPER_UP`.
    const UP: u8 = 6;
    let info =
        Ifinfomsg { family: 0, pad: 0, kind: libc::ARPHRD_ETHER, index: link.index as i32, flags: FLAGS, change: 0 };
    reply.message(libc::RTM_NEWLINK, info.as_bytes(), |reply| {
        reply.attribute(libc::IFLA_IFNAME, &[link.name.as_bytes(), b"\0"].concat());
        reply.attribute(libc::IFLA_TXQLEN, &1000u32.to_ne_bytes());
        reply.attribute(libc::IFLA_OPERSTATE, &[UP]);
        reply.attribute(libc::IFLA_LINKMODE, &[0]);
        reply.attribute(libc::IFLA_MTU, &(link.mtu as u32).to_ne_bytes());
        reply.attribute(libc::IFLA_GROUP, &0u32.to_ne_bytes());
        reply.attribute(libc::IFLA_PROMISCUITY, &0u32.to_ne_bytes());
        reply.attribute(libc::IFLA_NUM_TX_QUEUES, &1u32.to_ne_bytes());
        reply.attribute(libc::IFLA_NUM_RX_QUEUES, &1u32.to_ne_bytes());
        reply.attribute(IFLA_CARRIER, &[1]);
        reply.attribute(libc::IFLA_QDISC, b"noqueue\0");
        reply.attribute(libc::IFLA_ADDRESS, &link.mac);
        reply.attribute(libc::IFLA_BROADCAST, &stack::link::BROADCAST);
    });
}

/// The loopback addresses of a family (0: all), with the length of their networks.
fn loopback(family: u8) -> impl Iterator<Item = (IpAddr, u8)> {
    let all = [(IpAddr::V4(Ipv4Addr::LOCALHOST), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
    all.into_iter().filter(move |(ip, _)| family == 0 || family == family_of(*ip))
}

fn family_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn addresses(request: &Request<'_>, dump: bool, reply: &mut Reply) -> SysResult<()> {
    if !dump {
        return Err(Errno::OPNOTSUPP);
    }
    let family = request.payload.first().copied().unwrap_or(0);
    for own in loopback(family) {
        address(reply, own, "lo", INDEX);
    }
    for link in interfaces() {
        for own in link.addresses.iter().filter(|(ip, _)| family == 0 || family == family_of(*ip)) {
            address(reply, *own, &link.name, link.index as i32);
        }
    }
    Ok(())
}

fn address(reply: &mut Reply, (ip, prefix): routing::Address, name: &str, index: i32) {
    let scope = match ip {
        _ if ip.is_loopback() => SCOPE_HOST,
        _ if routing::is_link_local(ip) => SCOPE_LINK,
        _ => 0,
    };
    let fixed = [[family_of(ip), prefix, PERMANENT as u8, scope], index.to_ne_bytes()].concat();
    reply.message(libc::RTM_NEWADDR, &fixed, |reply| {
        reply.attribute(libc::IFA_ADDRESS, &octets(ip));
        if ip.is_ipv4() {
            reply.attribute(libc::IFA_LOCAL, &octets(ip));
            if let Some(broadcast) = routing::broadcast((ip, prefix)).filter(|_| !ip.is_loopback()) {
                reply.attribute(libc::IFA_BROADCAST, &octets(broadcast));
            }
            reply.attribute(libc::IFA_LABEL, &[name.as_bytes(), b"\0"].concat());
        }
        reply.attribute(IFA_FLAGS, &PERMANENT.to_ne_bytes());
        // Preferred and valid for ever; made and changed at the start.
        reply.attribute(libc::IFA_CACHEINFO, [u32::MAX, u32::MAX, 0, 0].as_bytes());
    });
}

fn routes(request: &Request<'_>, dump: bool, reply: &mut Reply) -> SysResult<()> {
    let (asked, _) = Rtmsg::read_from_prefix(request.payload).unwrap_or((Rtmsg::default(), &[]));
    if dump {
        for (ip, prefix) in loopback(asked.family) {
            local_route(reply, ip, prefix, ip);
        }
        main_routes(reply, asked.family);
        return Ok(());
    }
    let mut destinations = attributes(request.payload, size_of::<Rtmsg>()).filter(|(kind, _)| *kind == libc::RTA_DST);
    let (_, to) = destinations.next().ok_or(Errno::INVAL)?;
    let to = match (<[u8; 4]>::try_from(to), <[u8; 16]>::try_from(to)) {
        (Ok(ip), _) => IpAddr::from(ip),
        (_, Ok(ip)) => IpAddr::from(ip),
        _ => return Err(Errno::INVAL),
    };
    let stack = stack::get().filter(|_| !to.is_loopback());
    if let Some(stack) = stack.filter(|stack| !stack.is_own(to)) {
        let hop = stack.route(to)?;
        let prefix = if to.is_ipv4() { 32 } else { 128 };
        let gateway = Some(hop.via).filter(|via| *via != to);
        main_route(reply, (to, prefix), gateway, Some(hop.source), (hop.interface, 0));
        return Ok(());
    }
    if stack.is_none() && !to.is_loopback() {
        return Err(Errno::NETUNREACH);
    }
    let source = if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { to };
    local_route(reply, to, if to.is_ipv4() { 32 } else { 128 }, source);
    Ok(())
}

/// Routes of the main table: those that follow from addresses, and those that the engine set.
fn main_routes(reply: &mut Reply, family: u8) {
    let is_asked = |ip: IpAddr| family == 0 || family == family_of(ip);
    for link in interfaces() {
        for (ip, prefix) in link.addresses.iter().filter(|(ip, _)| is_asked(*ip)) {
            let network = (routing::network(*ip, *prefix), *prefix);
            main_route(reply, network, None, Some(*ip), (link.index, 0));
        }
    }
    let set = stack::get().into_iter().flat_map(|stack| stack.routes());
    for route in set.filter(|route| is_asked(route.destination)) {
        let to = (route.destination, route.prefix);
        main_route(reply, to, route.gateway, route.source, (route.interface, route.metric));
    }
}

/// `TO via GATEWAY dev INTERFACE src SOURCE metric METRIC`.
fn main_route(
    reply: &mut Reply,
    (to, prefix): routing::Address,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    (interface, metric): (u32, u32),
) {
    let (protocol, scope) = if gateway.is_some() { (libc::RTPROT_BOOT, 0) } else { (libc::RTPROT_KERNEL, SCOPE_LINK) };
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
    });
}

/// `local TO/PREFIX dev lo src SOURCE` in the local table.
fn local_route(reply: &mut Reply, to: IpAddr, prefix: u8, source: IpAddr) {
    let route = Rtmsg {
        family: family_of(to),
        dst_len: prefix,
        table: libc::RT_TABLE_LOCAL,
        protocol: libc::RTPROT_KERNEL,
        scope: SCOPE_HOST,
        kind: libc::RTN_LOCAL,
        ..Rtmsg::default()
    };
    let network = if prefix == 8 { IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)) } else { to };
    reply.message(libc::RTM_NEWROUTE, route.as_bytes(), |reply| {
        reply.attribute(libc::RTA_TABLE, &u32::from(libc::RT_TABLE_LOCAL).to_ne_bytes());
        reply.attribute(libc::RTA_DST, &octets(network));
        reply.attribute(libc::RTA_PREFSRC, &octets(source));
        reply.attribute(libc::RTA_OIF, &INDEX.to_ne_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::super::message::{Header, requests};
    use super::*;

    fn ask(kind: u16, flags: i32, payload: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let header = Header { len: 16 + payload.len() as u32, kind, flags, seq: 1, pid: 0 };
        let bytes = [header.as_bytes(), payload].concat();
        let request = requests(&bytes).next().unwrap();
        let answer = answer(&request, 9, false).unwrap_or_default();
        requests(&answer).map(|m| (m.header.kind, m.payload.to_vec())).collect()
    }

    fn code(payload: &[u8]) -> i32 {
        i32::from_ne_bytes(payload[..4].try_into().unwrap())
    }

    #[test]
    fn dumps_end_and_name_the_loopback() {
        let links = ask(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; 16]);
        assert_eq!(links.iter().map(|m| m.0).collect::<Vec<_>>(), [libc::RTM_NEWLINK, 3]);
        assert!(attributes(&links[0].1, 16).any(|a| a == (libc::IFLA_IFNAME, b"lo\0".as_slice())));
        let addresses = ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; 8]);
        assert_eq!(addresses.len(), 3);
        let v6_only = ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[libc::AF_INET6 as u8, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(v6_only.len(), 2);
        let neighbours = ask(30, libc::NLM_F_DUMP, &[0; 12]);
        assert_eq!(neighbours.iter().map(|m| m.0).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn changes_are_refused_and_unknown_things_are_unknown() {
        let change = ask(libc::RTM_NEWLINK, libc::NLM_F_ACK, &[0; 16]);
        assert_eq!((change[0].0, code(&change[0].1)), (2, -libc::EPERM));
        let mut other = [0; 16];
        other[4] = 7;
        assert_eq!(code(&ask(libc::RTM_GETLINK, 0, &other)[0].1), -libc::ENODEV);
        assert!(ask(3, 0, &[]).is_empty());
        assert_eq!(code(&ask(3, libc::NLM_F_ACK, &[])[0].1), 0);
    }
}
